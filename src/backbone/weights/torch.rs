//! Tensors of `torch.save` before it wrote zip archives: a stream of five pickles (magic number, protocol, system, the
//! object, the storages' keys) and then the storages, each an i64 count and its elements.

use std::collections::HashMap;

use super::pickle::{Global, Pickle, PickleError, Value};
use super::tensors::{Tensor, f32_at};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;
const ORDERED_DICT: Global<'static> = ("collections", "OrderedDict");
const REBUILD_TENSOR: Global<'static> = ("torch._utils", "_rebuild_tensor_v2");
const LOAD_FROM_BYTES: Global<'static> = ("torch.storage", "_load_from_bytes");
const FLOATS: Global<'static> = ("torch", "FloatStorage");
const LONGS: Global<'static> = ("torch", "LongStorage");

/// A run of elements that tensors are views of.
#[derive(Debug, Clone, Copy)]
struct Storage<'a> {
    class: Global<'a>,
    bytes: &'a [u8],
}

/// One legacy stream: the object and the storages that it refers to.
#[derive(Debug)]
struct Stream<'a> {
    object: Pickle<'a>,
    storages: HashMap<&'a str, Storage<'a>>,
}

impl<'a> Stream<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, PickleError> {
        let mut rest = bytes;
        let mut next = |allowed: &[Global<'_>]| {
            let pickle = Pickle::read(rest, allowed)?;
            rest = &rest[pickle.consumed..];
            Ok(pickle)
        };
        if next(&[])?.root().int()? != MAGIC || next(&[])?.root().int()? != PROTOCOL {
            return Err(PickleError::Malformed("not a legacy torch.save stream"));
        }
        // The system's description: only little-endian machines write such files today.
        next(&[])?;
        let object = next(&[ORDERED_DICT, REBUILD_TENSOR, FLOATS, LONGS])?;
        let keys = next(&[])?;

        let mut classes = HashMap::new();
        for id in object.persistent_ids() {
            let (class, key) = storage_id(id)?;
            classes.insert(key, class);
        }
        let mut storages = HashMap::new();
        for key in keys.root().items()? {
            let key = key.str()?;
            let class = *classes
                .get(key)
                .ok_or(PickleError::Malformed("a storage of no type"))?;
            let width: usize = if class == FLOATS { 4 } else { 8 };
            let storage = rest.split_first_chunk().and_then(|(count, elements)| {
                let len = usize::try_from(i64::from_le_bytes(*count))
                    .ok()?
                    .checked_mul(width)?;
                elements.split_at_checked(len)
            });
            let at = bytes.len() - rest.len();
            let (elements, after) = storage.ok_or(PickleError::Truncated { at })?;
            storages.insert(
                key,
                Storage {
                    class,
                    bytes: elements,
                },
            );
            rest = after;
        }
        Ok(Self { object, storages })
    }

    fn storage(&self, reference: Value<'_, 'a>) -> Result<Storage<'a>, PickleError> {
        let (_, key) = storage_id(reference.persistent()?)?;
        let storage = self.storages.get(key).copied();
        storage.ok_or(PickleError::Malformed(
            "a tensor of a storage that is not there",
        ))
    }
}

/// Class and key of `("storage", class, key, device, count, …)`.
fn storage_id<'a>(id: Value<'_, 'a>) -> Result<(Global<'a>, &'a str), PickleError> {
    let [kind, class, key] = id.first()?;
    let class = class.global()?;
    if kind.str()? != "storage" || (class != FLOATS && class != LONGS) {
        return Err(PickleError::Malformed(
            "an external object that is no storage",
        ));
    }
    Ok((class, key.str()?))
}

/// The f32 tensors of a state dict in a legacy stream. Integer ones (`num_batches_tracked`) are left out: they only matter to
/// training.
pub(super) fn legacy_state_dict(bytes: &[u8]) -> Result<Vec<(&str, Tensor)>, PickleError> {
    let stream = Stream::read(bytes)?;
    state_dict(stream.object.root(), |reference| stream.storage(reference))
}

/// The f32 tensors of a state dict that `pickle.dump` wrote: each storage is a legacy stream of its own.
pub(super) fn pickled_state_dict(bytes: &[u8]) -> Result<Vec<(&str, Tensor)>, PickleError> {
    let pickle = Pickle::read(bytes, &[ORDERED_DICT, REBUILD_TENSOR, LOAD_FROM_BYTES])?;
    state_dict(pickle.root(), |reference| {
        let [inner] = reference.call(LOAD_FROM_BYTES)?.0.first()?;
        let stream = Stream::read(inner.bytes()?)?;
        stream.storage(stream.object.root())
    })
}

fn state_dict<'a>(
    dict: Value<'_, 'a>,
    storage_of: impl Fn(Value<'_, 'a>) -> Result<Storage<'a>, PickleError>,
) -> Result<Vec<(&'a str, Tensor)>, PickleError> {
    let mut tensors = Vec::new();
    for (name, value) in dict.dict()? {
        let [storage, offset, shape, strides] = value.call(REBUILD_TENSOR)?.0.first()?;
        let storage = storage_of(storage)?;
        if storage.class != FLOATS {
            continue;
        }
        let tensor = Tensor::from_strided(
            sizes(shape)?,
            &sizes(strides)?,
            offset.size()?,
            storage.bytes.len() / 4,
            |index| f32_at(storage.bytes, index),
        );
        let tensor = tensor.ok_or(PickleError::Malformed(
            "a tensor reaches out of its storage",
        ))?;
        tensors.push((name.str()?, tensor));
    }
    Ok(tensors)
}

fn sizes(tuple: Value<'_, '_>) -> Result<Vec<usize>, PickleError> {
    tuple.items()?.iter().map(Value::size).collect()
}
