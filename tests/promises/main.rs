//! Black-box tests, by promise. They run the binary against the embedded Kafka and S3, over TCP.

mod bad_input;
mod commands;
mod crash;
mod exactness;
mod faults;
mod histories;
mod networks;
mod proxy;
mod restart;
mod servers;
#[path = "../shared/mod.rs"]
mod shared;
mod soak;
mod verify;
mod world;
