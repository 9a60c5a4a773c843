//! Steps of the status table that are under way together.

mod support;

use bus_schema::id::ObjectId;
use bus_schema::limits::{COALESCE, COALESCE_BUSY, FIRST_REPEAT};
use bus_schema::status::State;

use support::world::{World, deployment, settled, shop};

const MAX_FRAME: usize = 60_000;

/// An agent that has told of a changed list and, before the hub could answer, that the one object that changed is applied.
fn told_twice() -> (World, [Vec<u8>; 2]) {
    let mut world = settled();
    world.desire(&shop("registry.example/shop/service:1.0.1"), 2);
    let delta = world.hub.poll_transmit(&world.shelf, MAX_FRAME, world.now).expect("a list to tell of");
    world.agent.frame(&delta, [9; 32], &world.disk, world.now).expect("it is the hub's");
    world.commit();
    let applying = world.agent.poll_action(world.now).expect("an object to apply");
    world.now += COALESCE;
    let listed = world.agent.poll_transmit(MAX_FRAME, world.now).expect("it has the list");
    assert_eq!(world.agent.poll_transmit(MAX_FRAME, world.now), None, "nothing has changed since");
    world.finish(applying);
    world.commit();
    let applied = world.agent.poll_transmit(MAX_FRAME, world.now).expect("it does not wait for the acknowledgement");
    assert_eq!(world.agent.poll_transmit(MAX_FRAME, world.now), None, "nor is anything told twice");
    (world, [listed, applied])
}

fn arrive(world: &mut World, frame: &[u8]) {
    world.hub.frame(frame, [8; 32], world.now).expect("it is the agent's");
    world.commit();
}

/// The object that `shop` changes.
fn changed() -> ObjectId {
    ObjectId::new("apps", "Deployment", "shop", "service-07")
}

fn is_in_step(world: &mut World) -> bool {
    let row = world.hub.table().rows[&changed()].state;
    world.agent.is_reported() && row == State::Applied && world.hub.table() == world.agent.status()
}

#[test]
fn what_is_applied_is_told_before_the_hub_has_answered_what_was_told_before() {
    let (mut world, frames) = told_twice();
    frames.iter().for_each(|frame| arrive(&mut world, frame));
    world.settle();
    assert!(is_in_step(&mut world) && world.up == 0, "{} bytes more", world.up);
}

#[test]
fn an_acknowledgement_of_the_first_step_only_brings_no_second_telling() {
    let (mut world, [listed, applied]) = told_twice();
    arrive(&mut world, &listed);
    let ack = world.hub.poll_transmit(&world.shelf, MAX_FRAME, world.now).expect("an acknowledgement");
    world.agent.frame(&ack, [9; 32], &world.disk, world.now).expect("it is the hub's");
    world.now += COALESCE;
    assert_eq!(world.agent.poll_transmit(MAX_FRAME, world.now), None);
    arrive(&mut world, &applied);
    world.settle();
    assert!(is_in_step(&mut world) && world.up == 0, "{} bytes more", world.up);
}

#[test]
fn a_lost_step_is_told_again_as_soon_as_the_hub_could_not_follow_the_next() {
    let mut world = settled();
    let mut objects = shop("registry.example/shop/service:1.0.1");
    objects[3] = deployment(3, "registry.example/shop/service:1.0.1");
    world.desire(&objects, 2);
    let delta = world.hub.poll_transmit(&world.shelf, MAX_FRAME, world.now).expect("a list to tell of");
    world.agent.frame(&delta, [9; 32], &world.disk, world.now).expect("it is the hub's");
    world.commit();
    let [first, second] = [(); 2].map(|()| world.agent.poll_action(world.now).expect("two objects to apply"));
    world.now += COALESCE;
    world.agent.poll_transmit(MAX_FRAME, world.now).expect("a step that is lost");
    world.finish(first);
    world.commit();
    world.now += COALESCE_BUSY;
    let next = world.agent.poll_transmit(MAX_FRAME, world.now).expect("the next one");
    arrive(&mut world, &next);
    let ack = world.hub.poll_transmit(&world.shelf, MAX_FRAME, world.now).expect("where the hub is");
    world.agent.frame(&ack, [9; 32], &world.disk, world.now).expect("it is the hub's");
    world.now += COALESCE;
    let again = world.agent.poll_transmit(MAX_FRAME, world.now).expect("all that the hub lacks");
    arrive(&mut world, &again);
    assert_eq!(world.hub.table(), world.agent.status());
    world.finish(second);
    world.settle();
    assert!(is_in_step(&mut world));
}

#[test]
fn what_is_applied_is_told_at_once_while_large_content_is_on_its_way() {
    let mut world = settled();
    world.now += COALESCE_BUSY;
    let mut objects = shop("registry.example/shop/service:1.0.1");
    let noise: String = (0..40_000_u64).map(|line| format!("{:x}", line.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    objects.push(format!("{{\"noise\":\"{noise}\"}}"));
    world.desire(&objects, 2);
    let delta = world.hub.poll_transmit(&world.shelf, MAX_FRAME, world.now).expect("a list to tell of");
    world.agent.frame(&delta, [9; 32], &world.disk, world.now).expect("it is the hub's");
    world.commit();
    let applying = world.agent.poll_action(world.now).expect("an object to apply");
    world.finish(applying);
    world.commit();
    while let Some(frame) = world.agent.poll_transmit(MAX_FRAME, world.now) {
        arrive(&mut world, &frame);
    }
    assert!(!world.agent.is_held(), "all of it has come");
    assert_eq!(world.hub.table().rows[&changed()].state, State::Applied);
}

#[test]
fn two_lost_steps_are_told_again_in_time() {
    let (mut world, _lost) = told_twice();
    world.now += 4 * FIRST_REPEAT;
    world.settle();
    assert!(is_in_step(&mut world));
}
