//! Black-box tests, by promise. They run the binary over TCP against the embedded Kafka and
//! S3, and what must hold on every server against Apache Kafka and SeaweedFS, too.

mod answers;
mod backend;
mod bad_input;
mod caller;
mod classes;
mod commands;
mod crash;
mod doors;
mod exactness;
mod faults;
mod histories;
mod hosts;
mod idle;
mod networks;
mod observe;
mod process;
mod promtool;
mod proxy;
mod rebuild;
mod reproject;
mod restart;
mod servers;
mod shape;
#[path = "../shared/mod.rs"]
mod shared;
mod soak;
mod stopping;
mod traces;
mod usage;
mod verify;
mod world;
