#!/usr/bin/env bash
# Each job of dataflows/jobs beside the same work in PySpark: the same images, the same cores, in turn.
#
# usage: spark.sh EIGENFLOW PYTHON SPARK_PIPELINE IMAGES      needs Java; PYTHON has pyspark, torch, torchvision, pillow, psutil
# SPARK_PIPELINE is shared/peers/spark_pipeline.py, whose ResNet-50 is exchanged for the job's network (of random weights, which are as
# fast); IMAGES is a folder of labels. Before and after Spark eigenflow takes its turn, so that a change of the machine's pace shows.
set -euo pipefail
eigenflow=$1 python=$2 pipeline=$3 images=$4
jobs=$(cd "$(dirname "$0")/../dataflows/jobs" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# So many photographs, evenly spread, of the labels that match.
sample() {
  mapfile -t all < <(cd "$images" && LC_ALL=C find . -regex "$2" | LC_ALL=C sort)
  for ((i = 0; i < $1; i++)); do
    one=${all[i * ${#all[@]} / $1]}
    mkdir -p "$work/$3/$(dirname "$one")"
    cp "$images/$one" "$work/$3/$one"
  done
}

ours() {
  "$eigenflow" demo --config "$jobs/$1.toml" --images "$work/$1" --workers 2 --out "$work/out" --json |
    sed -n 's/.*"images_per_second":\([0-9]*\.[0-9]\).*/  eigenflow \1 images\/s/p'
  rm -rf "$work/out"
}

beside() {
  local job=$1 count=$2 labels=$3 network=$4
  sample "$count" "$labels" "$job"
  sed "s/torchvision.models.resnet50(weights=None); m.fc = torch.nn.Identity()/$network/" "$pipeline" >"$work/pipeline.py"
  echo "$job, $count images, load $(cut -d' ' -f1 /proc/loadavg)"
  ours "$job"
  "$python" "$work/pipeline.py" "$work/$job" "$count" 50 "$work/spark" 2>/dev/null | tail -1 |
    "$python" -c 'import json, sys; r = json.load(sys.stdin); print("  PySpark   %.1f images/s, start-up included, %d MB" % (r["n"] / r["wall_total"], r["peak_rss_mib"]))'
  ours "$job"
}

any='.*\.jpg'
red='\./\(Apple Braeburn\|Cherry 1\|Raspberry\|Strawberry\|Tomato 1\)/.*\.jpg'
vgg='torchvision.models.vgg16(weights=None)'
mean='m.avgpool = torch.nn.AdaptiveAvgPool2d(1); m.classifier = torch.nn.Identity()'
dense='m.avgpool = torch.nn.Identity(); m.classifier = torch.nn.Sequential(torch.nn.Linear(25088, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512), torch.nn.ReLU())'
beside resnet50-pca 1000 "$any" 'torchvision.models.resnet50(weights=None); m.fc = torch.nn.Identity()'
beside mobilenetv2-pca 1000 "$any" 'torchvision.models.mobilenet_v2(weights=None); m.classifier = torch.nn.Identity()'
beside vgg16-pca50 250 "$red" "$vgg; $mean"
beside vgg16-csv 500 "$any" "$vgg; $mean"
beside vgg16-dense512 500 "$any" "$vgg; $dense"
