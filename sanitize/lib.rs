//! The kernels with their tests, and nothing else, under the address sanitizer: every read and write of raw addresses, in all
//! families that the CPU has, over the tests' small and odd shapes.
//!
//! In this folder (`sanitize`), on a nightly toolchain:
//!
//! ```sh
//! RUSTFLAGS=-Zsanitizer=address cargo +nightly test --release --target x86_64-unknown-linux-gnu
//! ```
//!
//! `--target` keeps the flag from build scripts and macros.
//!
//! And the portable kernels under Miri, on shapes that an interpreter can do in some ten minutes, with the aliasing of all that is
//! borrowed (the stem takes it twenty more; sums of bytes and Winograd's have not been waited for):
//!
//! ```sh
//! MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test tests:: -- --skip stem --skip int8 --skip winograd --skip networks
//! ```

#[allow(dead_code, unused_imports)]
#[path = "../src/backbone"]
mod backbone {
    mod architecture;
    mod error;
    mod kernels;
    mod options;
    mod preprocessing;

    pub use architecture::{Architecture, ResNet, Strides};
    pub use error::BackboneError;
    pub use kernels::Family;
    pub use options::{Options, Pooling, Precision};
    pub use preprocessing::Preprocessing;
}
