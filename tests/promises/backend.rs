//! The servers that a promise is kept on: those in this process, and real ones. A promise is written once, and is a test on each.

use crate::servers::cluster::{Cluster, cluster};
use crate::servers::kafka::PLAINTEXT;
use crate::world::World;

#[derive(Clone, Copy)]
pub enum Backend {
    Embedded,
    /// Apache Kafka and SeaweedFS.
    Real(&'static Cluster),
}

impl Backend {
    /// The real servers; or a loud word that the test does nothing.
    pub fn real() -> Option<Self> {
        cluster().map(Backend::Real)
    }

    pub fn name(self) -> &'static str {
        match self {
            Backend::Embedded => "embedded servers",
            Backend::Real(_) => "real servers",
        }
    }

    /// A world of its own.
    pub fn world(self, partitions: i32) -> World {
        match self {
            Backend::Embedded => World::new(partitions as usize),
            Backend::Real(cluster) => cluster.world(PLAINTEXT, partitions),
        }
    }
}

/// Makes tests of promises, `fn(Backend)`: each on each of the servers.
macro_rules! keep_on_all_servers {
    ($($promise:ident),+ $(,)?) => {
        mod embedded {
            $(#[test]
            fn $promise() {
                super::$promise(crate::backend::Backend::Embedded);
            })+
        }
        mod real {
            $(#[test]
            fn $promise() {
                if let Some(servers) = crate::backend::Backend::real() {
                    super::$promise(servers);
                }
            })+
        }
    };
}
pub(crate) use keep_on_all_servers;
