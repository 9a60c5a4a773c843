use serde_json::{Value, json};

use super::*;
use crate::api::catalogue::find_kind;

/// Bodies that kubectl has posted, with the same object as it prints it; made by `hub/data/bodies/record`.
fn recorded() -> Vec<(String, Vec<u8>, Value)> {
    let file: Value = serde_json::from_str(include_str!("../../../data/bodies/kubectl.json")).unwrap();
    let rows = file["bodies"].as_array().unwrap();
    assert!(rows.len() > 20, "{} bodies", rows.len());
    rows.iter()
        .map(|row| (row["command"].as_str().unwrap().to_owned(), unhex(row["body"].as_str().unwrap()), row["object"].clone()))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What kubectl prints, less what `decode` promises to leave out: nulls, and a status of zeros.
fn expected(mut object: Value) -> Value {
    drop_nulls(&mut object);
    if object.get("status").is_some_and(says_nothing) {
        object.as_object_mut().unwrap().remove("status");
    }
    object
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, inner| !inner.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[test]
fn bodies_of_kubectl_are_the_objects_that_it_prints() {
    for (command, body, object) in recorded() {
        assert_eq!(decode(&body), Ok(expected(object)), "{command}");
    }
}

/// Every kind, every field set, as Kubernetes' own round-trip tests hold them.
#[test]
#[ignore = "needs K8S_API_TESTDATA: the folder testdata/HEAD of the Go module k8s.io/api"]
fn every_field_of_every_kind_is_decoded() {
    let folder = std::env::var("K8S_API_TESTDATA").expect("K8S_API_TESTDATA names the folder testdata/HEAD of k8s.io/api");
    let mut kinds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        let object: Value = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if find_kind(group, kind).is_some_and(|r| r.version == version) {
            assert_eq!(decode(&std::fs::read(&path).unwrap()), Ok(expected(object)), "{name}");
            kinds += 1;
        }
    }
    assert!(kinds > 40, "only {kinds} kinds found");
}

#[test]
fn damaged_bodies_never_panic() {
    let mut random = fastrand_like(7);
    let bodies = recorded();
    let mut refused = 0;
    for round in 0..60_000 {
        let (_, body, _) = &bodies[round % bodies.len()];
        let mut body = body.clone();
        for _ in 0..=random() % 4 {
            let place = random() as usize % body.len();
            match random() % 4 {
                0 => body[place] = random() as u8,
                1 => body[place] ^= 1 << (random() % 8),
                2 => body.truncate(place.max(1)),
                _ => body.insert(place, random() as u8),
            }
        }
        refused += usize::from(decode(&body).is_err());
    }
    assert!(refused > 10_000, "the damage was too small to show anything: {refused} refused");
}

/// A small generator with a seed, so that a failure is the same again.
fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(number << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &type_meta), field(2, raw)].concat()
}

#[test]
fn a_field_that_is_not_known_is_named_and_refused() {
    let spec = field(2, &field(77, b"x"));
    let error = decode(&body("v1", "Service", &spec)).unwrap_err();
    assert!(error.starts_with("Service spec: protobuf field 77 of core.v1.ServiceSpec is not known to this hub"), "{error}");
    let error = decode(&body("example.com/v1", "Widget", b"")).unwrap_err();
    assert_eq!(error, "example.com/v1 Widget is not known in protobuf form: send it as JSON");
    assert!(decode(b"{}").unwrap_err().contains("no Kubernetes protobuf"));
}

#[test]
fn zeros_are_kept_only_where_they_were_meant() {
    let zero_replicas = [varint(1 << 3), varint(0)].concat();
    let zero_min_ready = [varint(5 << 3), varint(0)].concat();
    let spec = field(2, &[zero_replicas, zero_min_ready].concat());
    let object = decode(&body("apps/v1", "Deployment", &spec)).unwrap();
    assert_eq!(object["spec"], json!({"replicas": 0}), "replicas is a pointer in Go, minReadySeconds is not");
}

#[test]
fn delete_options_are_read_in_any_group() {
    let options = [field(4, b"Background"), varint(1 << 3), varint(0)].concat();
    let expected = json!({"apiVersion": "apps/v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "gracePeriodSeconds": 0});
    assert_eq!(decode(&body("apps/v1", "DeleteOptions", &options)), Ok(expected));
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let mut schema = Vec::new();
    for _ in 0..200 {
        schema = field(28, &schema);
    }
    let version = field(4, &field(1, &schema));
    let error = decode(&body("apiextensions.k8s.io/v1", "CustomResourceDefinition", &field(2, &field(7, &version)))).unwrap_err();
    assert!(error.ends_with("nested more than 64 messages deep"), "{error}");

    let many = field(2, b"").repeat(400_000);
    let error = decode(&body("v1", "ServiceAccount", &many)).unwrap_err();
    assert_eq!(error, "ServiceAccount secrets: more than 300000 values in one object");
    assert!(decode(&vec![0; MAX_BODY + 1]).unwrap_err().contains("at most 3145728 are read"));
}
