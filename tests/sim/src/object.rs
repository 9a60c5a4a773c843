//! The objects of the simulated world: few, so that subscriptions collide, of kinds that are applied in different phases.

use bus_schema::id::ObjectId;

use crate::draw::Draw;

/// One object that a template can be made of.
#[derive(Debug, Clone)]
pub struct Shape {
    pub id: ObjectId,
    pub secret: bool,
    /// Bytes of payload: more than a frame for the large ones.
    pub bytes: usize,
}

/// What payloads are made of.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Bytes of the largest object that a simulated member takes.
pub const MAX_OBJECT: u32 = 12_000;

/// Every object of the world.
pub fn universe() -> Vec<Shape> {
    let shape = |kind: &str, name: &str, secret: bool, bytes: usize| {
        let namespace = if kind == "Namespace" { "" } else { "shop" };
        let group = if kind == "Deployment" { "apps" } else { "" };
        Shape { id: ObjectId { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }, secret, bytes }
    };
    vec![
        shape("Namespace", "shop", false, 10),
        shape("Namespace", "till", false, 10),
        shape("ConfigMap", "prices", false, 60),
        shape("ConfigMap", "layout", false, 2_500),
        shape("ConfigMap", "catalogue", false, 6_000),
        shape("Secret", "token", true, 40),
        shape("Secret", "keys", true, 1_800),
        shape("Service", "front", false, 50),
        shape("Deployment", "front", false, 120),
        shape("Deployment", "back", false, 120),
    ]
}

/// The bytes of a template: `seed` decides the bulk, `version` a few of them.
pub fn content(shape: &Shape, seed: u64, version: u64, bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let bulk: String = std::iter::repeat_with(|| LETTERS[rng.index(..LETTERS.len())] as char).take(bytes).collect();
    format!("{{\"object\":\"{}\",\"version\":{version},\"data\":\"{bulk}\"}}", shape.id).into_bytes()
}
