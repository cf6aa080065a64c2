//! A reader of pickles that runs nothing. A pickle is a program for a stack machine whose `REDUCE` calls
//! whatever Python function the file names; here a call stays data (`function`, `args`, `state`), only functions on the
//! caller's list may be named at all, and opcodes that plain tensors do not need are refused.
//!
//! Values live in one arena and refer to each other by index: a hostile file can neither nest deep enough to exhaust the
//! stack, nor copy its way to more memory than a small multiple of its own length.

mod machine;

use machine::Machine;

/// A Python function or class, by module and name.
pub(super) type Global<'a> = (&'a str, &'a str);

/// Why a pickle was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PickleError {
    /// The pickle names a function that is not on the list. It was not called.
    #[error("the pickle asks for `{module}.{name}`, which is refused")]
    Refused {
        /// Python module.
        module: String,
        /// Function or class in it.
        name: String,
    },
    /// An opcode that plain tensors have no need of.
    #[error("opcode {opcode:#04x} at byte {at} is refused")]
    Opcode {
        /// The opcode's byte.
        opcode: u8,
        /// Where it stands.
        at: usize,
    },
    /// The bytes end within the program.
    #[error("the pickle ends early, at byte {at}")]
    Truncated {
        /// Where more was expected.
        at: usize,
    },
    /// Not a program that a pickler writes, or not the data that was expected.
    #[error("the pickle is malformed: {0}")]
    Malformed(&'static str),
}

#[derive(Debug)]
enum Node<'a> {
    None,
    Bool(bool),
    Int(i128),
    Str(&'a str),
    Bytes(&'a [u8]),
    Global(Global<'a>),
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Call {
        function: Global<'a>,
        args: usize,
        state: Option<usize>,
    },
    Persistent(usize),
}

/// One pickle, read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: usize,
    /// Bytes up to and with the `STOP`: where the next pickle of a stream begins.
    pub(super) consumed: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `bytes`, which may name the functions of `allowed` and no others.
    pub(super) fn read(bytes: &'a [u8], allowed: &[Global<'_>]) -> Result<Self, PickleError> {
        Machine::new(bytes, allowed).run()
    }

    /// The pickled value.
    pub(super) fn root(&self) -> Value<'_, 'a> {
        self.value(self.root)
    }

    /// Every persistent id that the pickle refers to, in order.
    pub(super) fn persistent_ids(&self) -> impl Iterator<Item = Value<'_, 'a>> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Persistent(id) => Some(self.value(*id)),
            _ => None,
        })
    }

    fn value(&self, index: usize) -> Value<'_, 'a> {
        Value {
            pickle: self,
            index,
        }
    }
}

/// A value within a pickle. The accessors say `Malformed` where it is of another kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'p, 'a> {
    pickle: &'p Pickle<'a>,
    index: usize,
}

impl<'p, 'a> Value<'p, 'a> {
    fn node(&self) -> &'p Node<'a> {
        &self.pickle.nodes[self.index]
    }

    pub(super) fn int(&self) -> Result<i128, PickleError> {
        match self.node() {
            Node::Int(int) => Ok(*int),
            _ => Err(PickleError::Malformed("expected an integer")),
        }
    }

    pub(super) fn bool(&self) -> Result<bool, PickleError> {
        match self.node() {
            Node::Bool(truth) => Ok(*truth),
            _ => Err(PickleError::Malformed("expected a truth value")),
        }
    }

    pub(super) fn size(&self) -> Result<usize, PickleError> {
        usize::try_from(self.int()?).map_err(|_| PickleError::Malformed("a size is out of range"))
    }

    pub(super) fn str(&self) -> Result<&'a str, PickleError> {
        match self.node() {
            Node::Str(text) => Ok(text),
            _ => Err(PickleError::Malformed("expected a string")),
        }
    }

    pub(super) fn bytes(&self) -> Result<&'a [u8], PickleError> {
        match self.node() {
            Node::Bytes(bytes) => Ok(bytes),
            _ => Err(PickleError::Malformed("expected bytes")),
        }
    }

    pub(super) fn global(&self) -> Result<Global<'a>, PickleError> {
        match self.node() {
            Node::Global(global) => Ok(*global),
            _ => Err(PickleError::Malformed("expected a class")),
        }
    }

    /// The elements of a tuple or list.
    pub(super) fn items(&self) -> Result<Vec<Self>, PickleError> {
        match self.node() {
            Node::Tuple(items) | Node::List(items) => Ok(items
                .iter()
                .map(|&index| self.pickle.value(index))
                .collect()),
            _ => Err(PickleError::Malformed("expected a tuple or a list")),
        }
    }

    /// The elements of a tuple of at least `N`.
    pub(super) fn first<const N: usize>(&self) -> Result<[Self; N], PickleError> {
        let items = self.items()?;
        items
            .first_chunk()
            .copied()
            .ok_or(PickleError::Malformed("a tuple is too short"))
    }

    /// Keys and values of a dictionary, as they were put in.
    pub(super) fn dict(&self) -> Result<Vec<(Self, Self)>, PickleError> {
        match self.node() {
            Node::Dict(entries) => Ok(entries
                .iter()
                .map(|&(key, value)| (self.pickle.value(key), self.pickle.value(value)))
                .collect()),
            _ => Err(PickleError::Malformed("expected a dictionary")),
        }
    }

    /// The dictionary's value of a string key.
    pub(super) fn get(&self, key: &str) -> Result<Self, PickleError> {
        self.dict()?
            .into_iter()
            .find(|(name, _)| name.str() == Ok(key))
            .map(|(_, value)| value)
            .ok_or(PickleError::Malformed("a dictionary lacks a key"))
    }

    /// Arguments and state of what the pickler would have made by calling `function`.
    pub(super) fn call(&self, function: Global<'_>) -> Result<(Self, Option<Self>), PickleError> {
        match self.node() {
            Node::Call {
                function: called,
                args,
                state,
            } if *called == function => {
                let state = state.map(|index| self.pickle.value(index));
                Ok((self.pickle.value(*args), state))
            }
            _ => Err(PickleError::Malformed("expected another object")),
        }
    }

    /// The id that stands for an object outside of the pickle.
    pub(super) fn persistent(&self) -> Result<Self, PickleError> {
        match self.node() {
            Node::Persistent(id) => Ok(self.pickle.value(*id)),
            _ => Err(PickleError::Malformed("expected a persistent id")),
        }
    }
}
