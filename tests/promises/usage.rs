//! What a process takes of the machine, as Linux tells it: memory, open files, processor time.

use std::time::Duration;

use crate::process::Process;

impl Process {
    /// Resident memory now, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS")
    }

    /// The most resident memory so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM")
    }

    /// Open files, those that it inherited included.
    pub fn open_files(&self) -> usize {
        let listed = std::fs::read_dir(format!("/proc/{}/fd", self.id()));
        listed.expect("a process that runs").count()
    }

    /// Processor time so far, of all its threads.
    pub fn processor_time(&self) -> Duration {
        let stat = self.read("stat");
        // The second field, the command in parentheses, may hold anything; user and system time are the 14th and 15th.
        let (_, fields) = stat.rsplit_once(") ").expect("a command");
        let ticks = fields.split(' ').skip(11).take(2);
        let ticks: u64 = ticks
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum();
        // SAFETY: a system call without memory.
        let a_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
        Duration::from_millis(ticks * 1000 / a_second)
    }

    /// How often its threads have waited for something so far: each time, something woke them.
    pub fn wakes(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id()));
        let threads = threads.expect("a process that runs").flatten();
        // A thread may end meanwhile.
        let read = threads.filter_map(|of| std::fs::read_to_string(of.path().join("status")).ok());
        let counts = read.map(|status| field(&status, "voluntary_ctxt_switches"));
        counts.sum()
    }

    fn status_kib(&self, name: &str) -> u64 {
        field(&self.read("status"), name)
    }

    fn read(&self, file: &str) -> String {
        let read = std::fs::read_to_string(format!("/proc/{}/{file}", self.id()));
        read.expect("a process that runs")
    }
}

/// A number of a status file; KiB, if it has a unit.
fn field(status: &str, name: &str) -> u64 {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(field, _)| *field == name).expect(name);
    let number = found.1.trim().trim_end_matches(" kB");
    number.parse().expect("a number")
}
