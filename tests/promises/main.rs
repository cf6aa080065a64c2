//! Black-box tests, by promise. They run the binary against the embedded Kafka and S3, over TCP.

mod bad_input;
mod commands;
mod exactness;
mod histories;
mod restart;
mod servers;
mod verify;
mod world;
