//! The restricted reader, against pickles that mean harm and pickles that mean nothing.

use proptest::prelude::*;

use crate::backbone::weights::archive::Members;
use crate::backbone::weights::catalogue::Conversion;
use crate::backbone::weights::convert::convert;
use crate::backbone::weights::pickle::{Pickle, PickleError};
use crate::backbone::weights::tensors::Tensor;
use crate::backbone::weights::torch::{legacy_state_dict, pickled_state_dict};

/// `os.system("true")`, as `pickle.dumps` writes it, by protocol 0's opcode and by protocol 4's.
const ATTACKS: [&[u8]; 2] = [
    b"\x80\x02cposix\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.",
    b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
];

/// A legacy stream of one state dict: `a` is a view of four floats, 1 to 4.
fn legacy_stream(offset: u8, shape: [u8; 2], strides: [u8; 2]) -> Vec<u8> {
    let mut stream =
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    stream.extend(b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00a");
    stream.extend(
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n",
    );
    stream.extend(b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04NtQK");
    stream.push(offset);
    stream.extend([b'K', shape[0], b'K', shape[1], 0x86]);
    stream.extend([b'K', strides[0], b'K', strides[1], 0x86]);
    stream.extend(b"\x89)tRu.");
    stream.extend(b"\x80\x02](X\x01\x00\x00\x000e.");
    stream.extend(4i64.to_le_bytes());
    stream.extend(
        [1f32, 2.0, 3.0, 4.0]
            .iter()
            .flat_map(|value| value.to_le_bytes()),
    );
    stream
}

fn refused_system() -> PickleError {
    PickleError::Refused {
        module: "posix".into(),
        name: "system".into(),
    }
}

#[test]
fn pickle_that_calls_the_system_is_refused() {
    for attack in ATTACKS {
        assert_eq!(Pickle::read(attack, &[]).unwrap_err(), refused_system());
        assert_eq!(pickled_state_dict(attack).unwrap_err(), refused_system());
        for conversion in [Conversion::TorchResNet18, Conversion::JaxVgg16] {
            let error = convert(conversion, &Members::of(&[("", attack)])).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("`posix.system`, which is refused"),
                "{error}"
            );
        }
    }
}

#[test]
fn attack_within_a_torch_stream_is_refused() {
    let honest = legacy_stream(0, [2, 2], [2, 1]);
    let mut stream = honest[..25].to_vec();
    assert!(stream.ends_with(b"}."), "the object's pickle comes next");
    stream.extend(ATTACKS[0]);
    assert_eq!(legacy_state_dict(&stream).unwrap_err(), refused_system());
}

#[test]
fn views_are_made_dense() {
    let matrix = |stream: Vec<u8>| {
        let tensors = legacy_state_dict(&stream).unwrap();
        assert_eq!(tensors[0].0, "a");
        tensors[0].1.values.clone()
    };
    assert_eq!(
        matrix(legacy_stream(0, [2, 2], [2, 1])),
        [1.0, 2.0, 3.0, 4.0]
    );
    assert_eq!(
        matrix(legacy_stream(0, [2, 2], [1, 2])),
        [1.0, 3.0, 2.0, 4.0],
        "a transposed view"
    );
    assert_eq!(matrix(legacy_stream(2, [1, 2], [9, 1])), [3.0, 4.0]);
}

#[test]
fn view_beyond_its_storage_is_refused() {
    for stream in [
        legacy_stream(1, [2, 2], [2, 1]),
        legacy_stream(0, [2, 2], [200, 1]),
        legacy_stream(0, [200, 200], [0, 0]),
    ] {
        let error = legacy_state_dict(&stream).unwrap_err();
        assert!(matches!(error, PickleError::Malformed(_)), "{error}");
    }
}

#[test]
fn storage_cut_off_is_refused() {
    let stream = legacy_stream(0, [2, 2], [2, 1]);
    for len in 0..stream.len() {
        assert!(legacy_state_dict(&stream[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn nesting_does_not_exhaust_the_stack() {
    let mut bomb = vec![b']'];
    bomb.extend(vec![0x85; 1 << 20]);
    bomb.push(b'.');
    let pickle = Pickle::read(&bomb, &[]).unwrap();
    assert_eq!(pickle.root().items().unwrap().len(), 1);
}

#[test]
fn kernels_turn_from_hwio_to_oihw() {
    // Height 1, width 2, two inputs, three outputs.
    let tensor =
        Tensor::from_hwio([1, 2, 2, 3], |index| (index < 12).then_some(index as f32)).unwrap();
    assert_eq!(tensor.shape, [3, 2, 1, 2]);
    assert_eq!(
        tensor.values,
        [0., 6., 3., 9., 1., 7., 4., 10., 2., 8., 5., 11.]
    );
}

proptest! {
    #[test]
    fn noise_is_an_error_and_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Pickle::read(&noise, &[]);
        prop_assert!(legacy_state_dict(&noise).is_err());
    }

    #[test]
    fn altered_stream_never_panics(at in 0usize..300, to in any::<u8>()) {
        let mut stream = legacy_stream(0, [2, 2], [2, 1]);
        let at = at % stream.len();
        stream[at] = to;
        if let Ok(tensors) = legacy_state_dict(&stream) {
            prop_assert!(tensors.iter().all(|(_, tensor)| tensor.values.len() <= 4));
        }
    }
}
