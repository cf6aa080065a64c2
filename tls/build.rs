//! Lays AWS-LC out as an installed OpenSSL, where `rdkafka-sys` looks for one: `include/` and `lib/` under `root`.
//!
//! `aws-lc-sys` builds libcrypto, and names its headers and library to those who depend on it. Its feature `ssl` would
//! build libssl, too, but with CMake and libclang, which a fresh machine has not; so libssl is built here, from the
//! same package's source, with the C++ compiler that librdkafka needs anyway.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/ssl.h");
    let root = PathBuf::from(env::var("OUT_DIR")?);
    let aws_lc = AwsLc::built()?;
    let (include, lib) = (root.join("include"), root.join("lib"));
    fs::create_dir_all(&lib)?;
    lay_headers(&aws_lc.include, &include)?;
    copy(&aws_lc.libcrypto, &lib.join("libcrypto.a"))?;
    compile_libssl(&aws_lc.source(&root)?, &aws_lc.include, &lib)?;
    println!("cargo:root={}", root.display());
    Ok(())
}

/// What `aws-lc-sys` has built.
struct AwsLc {
    version: String,
    include: PathBuf,
    libcrypto: PathBuf,
}

impl AwsLc {
    /// As its build script says: the version is in the names of the variables.
    fn built() -> Result<Self> {
        let version = |name: OsString| {
            let name = name.into_string().ok()?;
            let version = name.strip_prefix("DEP_AWS_LC_")?.strip_suffix("_INCLUDE")?;
            Some(version.to_owned())
        };
        let version = env::vars_os()
            .find_map(|(name, _)| version(name))
            .ok_or("aws-lc-sys does not say where its headers are")?;
        let said = |what: &str| env::var(format!("DEP_AWS_LC_{version}_{what}"));
        // Of the system's own AWS-LC the sources of that package need not be.
        if said("LINK_KIND")? != "static"
            || said("LIBCRYPTO")? != format!("aws_lc_{version}_crypto")
        {
            return Err("aws-lc-sys has found an AWS-LC of the system's: unset AWS_LC_SYS_SYSTEM_DIR, and set AWS_LC_SYS_USE_SYSTEM=0".into());
        }
        Ok(AwsLc {
            include: said("INCLUDE")?.into(),
            libcrypto: said("LIBCRYPTO_PATH")?.into(),
            version: version.replace('_', "."),
        })
    }

    /// Where cargo keeps the package's source: asked of a package that depends on nothing else, so that nothing is
    /// downloaded that isn't there.
    fn source(&self, out: &Path) -> Result<PathBuf> {
        let asking = out.join("asking");
        if asking.exists() {
            fs::remove_dir_all(&asking)?;
        }
        fs::create_dir_all(&asking)?;
        fs::write(asking.join("lib.rs"), "")?;
        let manifest = asking.join("Cargo.toml");
        fs::write(
            &manifest,
            format!(
                "[package]\nname = \"asking\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n\
                 [dependencies]\naws-lc-sys = \"={}\"\n",
                self.version
            ),
        )?;
        let output = Command::new(env::var("CARGO")?)
            .args(["metadata", "--offline", "--format-version", "1"])
            .args(["--filter-platform", &env::var("TARGET")?])
            .arg("--manifest-path")
            .arg(&manifest)
            .output()?;
        if !output.status.success() {
            return Err(format!(
                "cargo does not find the source of aws-lc-sys {}: {}",
                self.version,
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["name"] == "aws-lc-sys")
            .and_then(|package| Path::new(package["manifest_path"].as_str()?).parent())
            .map(|folder| folder.join("aws-lc"))
            .ok_or_else(|| format!("cargo knows no source of aws-lc-sys {}", self.version).into())
    }
}

/// AWS-LC's headers, with what librdkafka misses in `openssl/ssl.h`.
fn lay_headers(from: &Path, to: &Path) -> Result<()> {
    copy_folder(from, to)?;
    let ssl = to.join("openssl/ssl.h");
    let mut text = fs::read_to_string(&ssl)?;
    text.push_str(&fs::read_to_string("src/ssl.h")?);
    Ok(fs::write(ssl, text)?)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            copy(&entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Without its mode, which may forbid to write.
fn copy(from: &Path, to: &Path) -> Result<()> {
    Ok(fs::write(to, fs::read(from)?)?)
}

/// As AWS-LC's own CMake files do; it needs nothing of C++'s library.
fn compile_libssl(source: &Path, include: &Path, lib: &Path) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(source.join("ssl"))? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if name.ends_with(".cc") && !name.ends_with("_test.cc") {
            files.push(path);
        }
    }
    files.sort();
    cc::Build::new()
        .cpp(true)
        .cpp_link_stdlib(None)
        .std("c++11")
        .warnings(false)
        .flag("-fno-exceptions")
        .flag("-fno-rtti")
        .flag("-fvisibility=hidden")
        .define("BORINGSSL_IMPLEMENTATION", None)
        .include(include)
        .files(files)
        .out_dir(lib)
        .compile("ssl");
    Ok(())
}
