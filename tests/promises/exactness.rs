//! The published state is a function of the live objects alone: what the histories leave out.

use eigenflow::event::Change;
use eigenflow::moments::Moments;

use crate::backend::{Backend, keep_on_all_servers};
use crate::world::{Layout, event, picture};

keep_on_all_servers!(
    deleting_everything_leaves_the_empty_state,
    a_wrong_clock_does_not_pin_a_row,
    an_object_that_is_gone_leaves_neither_row_nor_reject,
);

fn deleting_everything_leaves_the_empty_state(servers: Backend) {
    let world = servers.world(2);
    for i in 0..20 {
        world.upload(i % 2, 1, &format!("a/{i}.png"), picture(i as u64));
    }
    world.run(Layout::TWO, "");
    assert_eq!(world.rows().len(), 20);
    for i in 0..20 {
        world.remove(i % 2, 2, &format!("a/{i}.png"));
    }
    world.run(Layout::ONE, "");
    assert!(world.rows().is_empty());
    assert_eq!(
        world.inspect()["moments_sha256"],
        Moments::empty(768).expect("a width").sha256()
    );
}

fn a_wrong_clock_does_not_pin_a_row(servers: Backend) {
    let world = servers.world(1);
    let far_future_ms = 4_000_000_000_000;
    world.upload(0, far_future_ms, "a/1.png", picture(1));
    world.run(Layout::ONE, "");
    let old = world.rows();
    world.upload(0, 1, "a/1.png", picture(2));
    world.run(Layout::ONE, "");
    let new = world.rows();
    let path = &world.path_of("a/1.png");
    assert_ne!(old[path].features, new[path].features);
    world.remove(0, 2, "a/1.png");
    world.run(Layout::ONE, "");
    assert!(world.rows().is_empty());
}

fn an_object_that_is_gone_leaves_neither_row_nor_reject(servers: Backend) {
    let world = servers.world(1);
    let created = event(Change::Created, "a/1.png", Some("e".into()), 1);
    world.tell(0, created);
    world.upload(0, 1, "a/2.png", picture(2));
    world.run(Layout::TWO, "");
    assert_eq!((world.rows().len(), world.rejects().len()), (1, 0));
}
