//! A job over several hosts, each with a network of its own: links that are cut, hosts that die.
//!
//! A host is a network namespace on a bridge. The bridge is in a namespace of the test's thread, where broker and store
//! are, so nothing of it is seen or left behind outside. The servers listen on the loopback; doors lead to them.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use crate::process::{Process, outcome, signal_to, succeed, there};
use crate::proxy::{Fate, Moment, Proxy};
use crate::shared::loud;
use crate::world::{Layout, Published, World, picture};

/// Of the network for documentation. It is as long as the loopback's, which [`Proxy`] replaces in the broker's answers.
const SERVERS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where the job's process listens, on every host.
const PORT: u16 = 2101;
const LAYOUT: Layout = Layout::PROCESSES;
const SETTINGS: &str = "[publish]\nrows = 8\ninterval_ms = 200\n[projection]\ncomponents = 3\n[log]\nformat = \"human\"\n";
/// The image at whose GET a disturbance begins: its epoch can't be complete.
const MIDDLE: usize = 30;

/// The hosts of a job.
struct Network {
    hosts: Vec<Host>,
}

/// A network namespace and its link to the bridge.
#[derive(Clone)]
struct Host {
    number: usize,
    name: String,
}

impl Network {
    /// Gives the calling thread, and what it starts from now on, a network without anything but these hosts; or a loud
    /// word that this can't be had.
    fn new(hosts: usize) -> Option<Self> {
        // SAFETY: a system call without memory.
        let alone = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
        if !alone || !there("ip") {
            loud(
                "SKIPPED: hosts need `ip` and the right to make network namespaces (root, CAP_NET_ADMIN)",
            );
            return None;
        }
        ip("link set lo up");
        ip("link add bridge type bridge");
        ip(&format!("address add {SERVERS}/24 dev bridge"));
        ip("link set bridge up");
        static NETWORKS: AtomicUsize = AtomicUsize::new(0);
        let names = (std::process::id(), NETWORKS.fetch_add(1, Relaxed));
        let host = |number| Host {
            number,
            name: format!("eigenflow-{}-{}-{number}", names.0, names.1),
        };
        let network = Network {
            hosts: (0..hosts).map(host).collect(),
        };
        network.hosts.iter().for_each(Host::build);
        Some(network)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.hosts.iter().for_each(Host::destroy);
    }
}

impl Host {
    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(SERVERS.to_bits() + 1 + self.number as u32)
    }

    fn build(&self) {
        let Host { number, name } = self;
        ip(&format!("netns add {name}"));
        ip(&format!(
            "link add to{number} type veth peer name eth0 netns {name}"
        ));
        ip(&format!("link set to{number} master bridge up"));
        ip(&format!(
            "-n {name} address add {}/24 dev eth0",
            self.address()
        ));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} link set eth0 up"));
    }

    fn cut(&self) {
        ip(&format!("link set to{} down", self.number));
    }

    fn heal(&self) {
        ip(&format!("link set to{} up", self.number));
    }

    /// Nobody hears of it: no connection of its processes is closed towards the others.
    fn die(&self) {
        self.cut();
        self.destroy();
    }

    /// What is not there any more needs no end: failures are for the next who build.
    fn destroy(&self) {
        let inside = outcome(Command::new("ip").args(["netns", "pids", &self.name]));
        for id in String::from_utf8_lossy(&inside.stdout).lines() {
            signal_to(id.parse().expect("an id"), libc::SIGKILL);
        }
        for gone in [
            ["link", "delete", &format!("to{}", self.number)],
            ["netns", "delete", &self.name],
        ] {
            outcome(Command::new("ip").args(gone));
        }
    }

    /// Starts a command here.
    fn start(&self, command: &Command) -> Process {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name]);
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            inside.env(name, value.expect("a variable that is set"));
        }
        Process::start(&mut inside)
    }
}

fn ip(arguments: &str) {
    succeed(Command::new("ip").args(arguments.split(' ')));
}

fn history(world: &World) {
    for i in 0..60 {
        let key = format!("class {}/{i}.png", i % 3);
        world.upload(i % 2, 1, &key, picture(i as u64));
    }
    for i in 0..6 {
        let key = format!("class {}/{i}.png", i % 3);
        world.upload(i % 2, 2, &key, picture(100 + i as u64));
    }
    world.remove(0, 2, "class 1/7.png");
}

/// Runs a supervised process on each host, as a service manager would, and `disturb`s the second host in mid-epoch; then
/// `mend`s it, which may start its process anew. All must end well, with the table of an undisturbed run on one host.
/// What they said.
fn survive(
    disturb: impl Fn(&Host) + Send + 'static,
    mend: impl FnOnce(&Host, &Command) -> Option<Process>,
) -> Option<Vec<String>> {
    let network = Network::new(LAYOUT.processes)?;
    let undisturbed = World::new(2);
    history(&undisturbed);
    undisturbed.run(Layout::TWO, SETTINGS);

    let mut world = World::new(2);
    history(&world);
    let store = Proxy::start_at(SERVERS, world.endpoint());
    let broker = Proxy::before_broker_at(SERVERS, world.kafka().brokers());
    world.hide_behind(&store);
    world.hide_broker_behind(&broker);
    let addresses: Vec<String> = network
        .hosts
        .iter()
        .map(|host| format!("{}:{PORT}", host.address()))
        .collect();
    let commands = world.members(
        &addresses,
        LAYOUT.workers,
        SETTINGS,
        &["--until-end", "--restart"],
    );
    let (begun, begins) = mpsc::channel();
    let (victim, mut images) = (network.hosts[1].clone(), 0);
    store.watch(move |call, moment| {
        if moment == Moment::Before && call.method == "GET" && call.path.starts_with("/landing/") {
            images += 1;
            if images == MIDDLE {
                disturb(&victim);
                // The other end is there until the test has failed.
                let _ = begun.send(());
            }
        }
        Fate::Pass
    });
    let hosts = network.hosts.iter().zip(&commands);
    let mut processes: Vec<Process> = hosts.map(|(host, command)| host.start(command)).collect();
    let disturbed = begins.recv_timeout(Duration::from_secs(60));
    disturbed.expect("a job that came to its middle");
    if let Some(replaced) = mend(&network.hosts[1], &commands[1]) {
        let ended = processes.pop().expect("the second process").wait();
        assert!(!ended.status.success());
        processes.push(replaced);
    }
    let said = processes.into_iter().map(|process| {
        let output = process.wait();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{log}");
        assert!(output.status.success(), "{}\n{log}", output.status);
        log
    });
    let said: Vec<String> = said.collect();
    assert_eq!(Published::of(&world), Published::of(&undisturbed));
    Some(said)
}

/// With more than 30 s in `EIGENFLOW_OUTAGE` the hosts give each other up and find each other again.
#[test]
fn a_link_that_is_cut_in_mid_epoch_changes_nothing() {
    let seconds = std::env::var("EIGENFLOW_OUTAGE").unwrap_or_else(|_| "5".into());
    let outage = Duration::from_secs(seconds.parse().expect("EIGENFLOW_OUTAGE is in seconds"));
    let said = survive(Host::cut, |host, _| {
        std::thread::sleep(outage);
        host.heal();
        None
    });
    // TCP's own time-out, SILENCE, and as much again to notice it.
    let Some(said) = said.filter(|_| outage > Duration::from_secs(60)) else {
        return;
    };
    for log in said {
        assert!(
            log.contains("the job has died and is started again"),
            "{log}"
        );
    }
}

#[test]
fn a_host_that_dies_in_mid_epoch_is_replaced_and_changes_nothing() {
    let said = survive(Host::die, |host, command| {
        host.build();
        Some(host.start(command))
    });
    if let Some([survivor, _]) = said.as_deref() {
        assert!(
            survivor.contains("the job has died and is started again"),
            "{survivor}"
        );
    }
}
