//! The TLS of librdkafka, from the AWS-LC that rustls is built on: one cryptographic library in the program, and no
//! Perl to build a second. `rdkafka-sys` asks for `openssl-sys`, and this is it, by `[patch.crates-io]`; all the work is
//! its build script's. There is nothing to call from Rust.

// So that its library is linked behind the one of here.
use aws_lc_sys as _;
