use super::super::fit::tests::{moments_of, some_rows};
use super::super::{Options, drift, fit};
use super::*;
use safetensors::tensor::TensorView;

fn stored() -> Stored {
    let previous = fit(&moments_of(&some_rows(30, 7)), &Options::default()).unwrap();
    let projection = fit(&moments_of(&some_rows(40, 7)), &Options::default()).unwrap();
    let drift = drift(&previous, &projection).unwrap();
    Stored {
        version: 12,
        projection,
        drift: Some(drift),
    }
}

#[test]
fn what_was_written_is_read() {
    let stored = stored();
    let bytes = stored.to_safetensors().unwrap();
    assert_eq!(Stored::from_safetensors(&bytes).unwrap(), stored);
    let first = Stored {
        drift: None,
        ..stored
    };
    assert_eq!(
        Stored::from_safetensors(&first.to_safetensors().unwrap()).unwrap(),
        first
    );
}

#[test]
fn equal_projections_are_equal_bytes() {
    let bytes = stored().to_safetensors().unwrap();
    (0..20).for_each(|_| assert_eq!(stored().to_safetensors().unwrap(), bytes));
}

#[test]
fn the_hash_knows_the_projection_and_not_its_history() {
    let stored = stored();
    let later = Stored {
        version: 99,
        drift: None,
        ..stored.clone()
    };
    let reread = Stored::from_safetensors(&later.to_safetensors().unwrap()).unwrap();
    assert_eq!(reread.projection.sha256(), stored.projection.sha256());
    let uncentred = fit(
        &moments_of(&some_rows(40, 7)),
        &Options {
            center: false,
            ..Options::default()
        },
    )
    .unwrap();
    assert_ne!(uncentred.sha256(), stored.projection.sha256());
}

#[test]
fn damaged_files_are_errors_with_a_name() {
    assert!(matches!(
        Stored::from_safetensors(b"PAR1"),
        Err(StoredError::Container(_))
    ));
    let foreign = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
    assert!(matches!(
        Stored::from_safetensors(&foreign),
        Err(StoredError::Foreign(METADATA_KEY))
    ));

    let bytes = stored().to_safetensors().unwrap();
    let replaced = |from: &str, to: &str| {
        let at = bytes
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        let mut changed = bytes.clone();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        Stored::from_safetensors(&changed).unwrap_err()
    };
    assert!(matches!(
        replaced("whitened", "whitenex"),
        StoredError::Metadata(_)
    ));
    assert!(matches!(
        replaced("\"shape\":[7,7]", "\"shape\":[49] "),
        StoredError::Tensor { .. }
    ));
    assert!(matches!(
        replaced("\"mean\"", "\"neam\""),
        StoredError::Container(_)
    ));
    let mut not_a_number = bytes.clone();
    let end = not_a_number.len();
    not_a_number[end - 8..].copy_from_slice(&f64::NAN.to_le_bytes());
    assert!(matches!(
        Stored::from_safetensors(&not_a_number),
        Err(StoredError::Value("std"))
    ));
    (0..bytes.len())
        .step_by(61)
        .for_each(|end| assert!(Stored::from_safetensors(&bytes[..end]).is_err()));
}
