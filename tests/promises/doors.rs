//! A door before each of a job's servers.

use crate::proxy::Proxy;
use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Server {
    Store,
    Broker,
}

pub const SERVERS: [Server; 2] = [Server::Store, Server::Broker];

/// What stands between the job and its servers.
pub struct Doors([Proxy; SERVERS.len()]);

impl Doors {
    /// From now on the job finds the servers of `world` behind doors.
    pub fn before(world: &mut World) -> Self {
        let store = Proxy::start(world.endpoint());
        world.hide_behind(&store);
        let broker = Proxy::before_broker(world.servers.brokers());
        world.hide_broker_behind(&broker);
        Doors([store, broker])
    }

    pub fn of(&self, server: Server) -> &Proxy {
        &self.0[server as usize]
    }
}
