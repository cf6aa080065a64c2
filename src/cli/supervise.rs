//! Supervision on one machine: the processes of a job as children of this one.
//!
//! Timely is fail-stop, so a job is only as alive as all of its processes: when one ends, the others have seconds to
//! follow, and are killed if they don't. With `--restart` all are then started again, from the last commit. That goes on
//! for ever, as a cause may pass at any time; only where a restart can't cure anything is the verdict final.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tempfile::NamedTempFile;

use super::signals::on_signal;
use super::{FENCED, Failure, USAGE, free_addresses, runtime};
use crate::storage::Backoff;

/// Pauses between two starts: from, and up to. A job that ran longer than the longest begins anew with the first.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long the others may live after the first has failed: they end by themselves when they lose the connection.
const GRACE: Duration = Duration::from_secs(10);
/// How often children and signals are looked at.
const WATCH: Duration = Duration::from_millis(50);

/// Runs the processes of a job that belong `here` until they end in good order, or a restart would cure nothing. `command` is the command
/// line of one of them, unsupervised, with a host file where several run here.
///
/// # Errors
/// Processes that can't be started; unless it `restarts` them, a process that failed.
pub fn supervise(
    here: &[usize],
    restarts: bool,
    command: impl Fn(usize, Option<&Path>) -> io::Result<Command>,
) -> Result<ExitCode, Failure> {
    let runtime = runtime()?;
    let signals = Arc::new(AtomicUsize::new(0));
    let count = signals.clone();
    on_signal(&runtime, move || {
        count.fetch_add(1, Relaxed);
    })?;
    let mut pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let start = Instant::now();
        let ends = Team::start(here, &command)?.watch(&signals)?;
        let Some(verdict) = judge(&ends) else {
            return Ok(ExitCode::SUCCESS);
        };
        if let Verdict::Final(code) = verdict {
            return Ok(ExitCode::from(code));
        }
        if signals.load(Relaxed) > 0 || !restarts {
            let ends: Vec<_> = ends.iter().map(ExitStatus::to_string).collect();
            return Err(Failure::Work(anyhow!(
                "the job's processes ended with {}",
                ends.join(", ")
            )));
        }
        if start.elapsed() > LONGEST_PAUSE {
            pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        }
        let delay = pause.next_delay();
        tracing::warn!(?delay, ?ends, "the job has died and is started again");
        let again = Instant::now() + delay;
        while Instant::now() < again {
            if signals.load(Relaxed) > 0 {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(WATCH);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The cause may pass.
    Again,
    /// This exit code tells of one that won't.
    Final(u8),
}

/// What the ends of a job's processes mean; `None` is a good end.
fn judge(ends: &[ExitStatus]) -> Option<Verdict> {
    let codes = || ends.iter().map(ExitStatus::code);
    if codes().all(|code| code == Some(0)) {
        return None;
    }
    // One knows the cause, the others only that they lost it.
    let standing = [USAGE, FENCED]
        .into_iter()
        .find(|standing| codes().any(|code| code == Some(i32::from(*standing))));
    Some(standing.map_or(Verdict::Again, Verdict::Final))
}

/// The processes of a job on this machine.
struct Team {
    children: Vec<Child>,
    /// Read by the processes as they start.
    _hosts: Option<NamedTempFile>,
}

impl Team {
    fn start(
        here: &[usize],
        command: impl Fn(usize, Option<&Path>) -> io::Result<Command>,
    ) -> Result<Self> {
        let hosts = match here.len() {
            1 => None,
            processes => Some(hosts(processes)?),
        };
        let mut team = Team {
            children: Vec::new(),
            _hosts: hosts,
        };
        for &process in here {
            let hosts = team._hosts.as_ref().map(NamedTempFile::path);
            let mut command = command(process, hosts)?;
            // Ctrl-C reaches the supervisor alone, which passes it on: a process that hears it twice stops at once.
            command.process_group(0);
            end_with_this_process(&mut command);
            let child = command.spawn();
            team.children
                .push(child.with_context(|| format!("process {process} can't be started"))?);
        }
        Ok(team)
    }

    /// Waits until all have ended, passes signals on, and lets none survive the others.
    fn watch(mut self, signals: &AtomicUsize) -> Result<Vec<ExitStatus>> {
        // What came while they were started is for them, too.
        let mut passed = 0;
        let mut failed: Option<Instant> = None;
        loop {
            let mut ends = Vec::new();
            for child in &mut self.children {
                ends.extend(child.try_wait()?);
            }
            if ends.len() == self.children.len() {
                return Ok(ends);
            }
            if ends.iter().any(|end| !end.success()) {
                let since = failed.get_or_insert_with(Instant::now);
                if since.elapsed() > GRACE {
                    for child in &mut self.children {
                        child.kill()?;
                    }
                }
            }
            let received = signals.load(Relaxed);
            if received > passed {
                passed = received;
                self.children.iter_mut().for_each(terminate);
            }
            std::thread::sleep(WATCH);
        }
    }
}

impl Drop for Team {
    /// A supervisor that fails leaves nobody behind.
    fn drop(&mut self) {
        for child in &mut self.children {
            // Fails for those that have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A host file of free ports of this machine.
fn hosts(processes: usize) -> Result<NamedTempFile> {
    let addresses = free_addresses(processes).context("no free port for the job's processes")?;
    let mut file = NamedTempFile::new().context("no place for a host file")?;
    for address in addresses {
        writeln!(file, "{address}")?;
    }
    file.flush()?;
    Ok(file)
}

#[allow(unsafe_code, reason = "a signal is a system call")]
fn terminate(child: &mut Child) {
    if let (Ok(id), Ok(None)) = (i32::try_from(child.id()), child.try_wait()) {
        // SAFETY: a system call without memory. The child was not reaped yet, so that the id is still its own.
        unsafe { libc::kill(id, libc::SIGTERM) };
    }
}

/// A supervisor that is killed takes the job with it, in good order: a second supervisor must not meet the first's job.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "between fork and exec little is allowed")]
fn end_with_this_process(command: &mut Command) {
    // SAFETY: between fork and exec only this one system call is made, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_this_process(_: &mut Command) {}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn ends(codes: &[i32]) -> Vec<ExitStatus> {
        // The layout of wait(2): an exit code in the second byte, a signal in the first.
        codes
            .iter()
            .map(|code| ExitStatus::from_raw(*code))
            .collect()
    }

    #[test]
    fn only_a_standing_cause_is_final() {
        assert_eq!(judge(&ends(&[0, 0])), None);
        assert_eq!(judge(&ends(&[0, 1 << 8])), Some(Verdict::Again));
        assert_eq!(judge(&ends(&[9, 1 << 8])), Some(Verdict::Again));
        assert_eq!(judge(&ends(&[1 << 8, 2 << 8])), Some(Verdict::Final(2)));
        assert_eq!(judge(&ends(&[3 << 8, 9])), Some(Verdict::Final(3)));
    }
}
