//! The stack machine that a pickle is a program for, less all that could do harm: see `pickle`.

use std::collections::HashMap;

use opcode::*;

use super::{Global, Node, Pickle, PickleError};

/// The opcodes that are understood, by their names in CPython's `pickletools`.
mod opcode {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const MARK: u8 = b'(';
    pub(super) const STOP: u8 = b'.';
    pub(super) const NONE: u8 = b'N';
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
    pub(super) const BINBYTES: u8 = b'B';
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPEND: u8 = b'a';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const STACK_GLOBAL: u8 = 0x93;
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const BUILD: u8 = b'b';
    pub(super) const BINPERSID: u8 = b'Q';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const BINGET: u8 = b'h';
    pub(super) const LONG_BINGET: u8 = b'j';
}

/// The machine's state within one pickle.
pub(super) struct Machine<'a, 'b> {
    bytes: &'a [u8],
    at: usize,
    allowed: &'b [Global<'b>],
    nodes: Vec<Node<'a>>,
    stack: Vec<usize>,
    /// Heights of the stack at the open `MARK`s.
    marks: Vec<usize>,
    memo: HashMap<usize, usize>,
}

impl<'a, 'b> Machine<'a, 'b> {
    pub(super) fn new(bytes: &'a [u8], allowed: &'b [Global<'b>]) -> Self {
        Self {
            bytes,
            at: 0,
            allowed,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
    }

    /// Runs to the `STOP`.
    pub(super) fn run(mut self) -> Result<Pickle<'a>, PickleError> {
        loop {
            let at = self.at;
            match self.byte()? {
                PROTO => {
                    self.byte()?;
                }
                FRAME => {
                    self.take(8)?;
                }
                MARK => self.marks.push(self.stack.len()),
                STOP => {
                    return Ok(Pickle {
                        root: self.pop()?,
                        nodes: self.nodes,
                        consumed: self.at,
                    });
                }
                NONE => self.push(Node::None),
                NEWTRUE => self.push(Node::Bool(true)),
                NEWFALSE => self.push(Node::Bool(false)),
                BININT => {
                    let int = i32::from_le_bytes(self.array()?);
                    self.push(Node::Int(int.into()));
                }
                BININT1 => {
                    let int = self.byte()?;
                    self.push(Node::Int(int.into()));
                }
                BININT2 => {
                    let int = u16::from_le_bytes(self.array()?);
                    self.push(Node::Int(int.into()));
                }
                LONG1 => self.long()?,
                BINUNICODE => self.text::<4>()?,
                SHORT_BINUNICODE => self.text::<1>()?,
                BINBYTES => self.blob::<4>()?,
                SHORT_BINBYTES => self.blob::<1>()?,
                EMPTY_TUPLE => self.push(Node::Tuple(Vec::new())),
                TUPLE => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Tuple(items));
                }
                TUPLE1 => self.tuple(1)?,
                TUPLE2 => self.tuple(2)?,
                TUPLE3 => self.tuple(3)?,
                EMPTY_LIST => self.push(Node::List(Vec::new())),
                APPEND => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                APPENDS => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
                EMPTY_DICT => self.push(Node::Dict(Vec::new())),
                SETITEM => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set_items(&[key, value])?;
                }
                SETITEMS => {
                    let items = self.pop_to_mark()?;
                    self.set_items(&items)?;
                }
                GLOBAL => self.global()?,
                STACK_GLOBAL => self.stack_global()?,
                REDUCE => self.reduce()?,
                BUILD => self.build()?,
                BINPERSID => {
                    let id = self.pop()?;
                    self.push(Node::Persistent(id));
                }
                BINPUT => {
                    let slot = self.byte()?;
                    self.memoize(slot.into())?;
                }
                LONG_BINPUT => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.memoize(slot as usize)?;
                }
                MEMOIZE => self.memoize(self.memo.len())?,
                BINGET => {
                    let slot = self.byte()?;
                    self.recall(slot.into())?;
                }
                LONG_BINGET => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.recall(slot as usize)?;
                }
                opcode => return Err(PickleError::Opcode { opcode, at }),
            }
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PickleError> {
        let taken = self
            .at
            .checked_add(len)
            .and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(PickleError::Truncated { at: self.at })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let at = self.at;
        let taken = self.take(N)?.first_chunk().copied();
        taken.ok_or(PickleError::Truncated { at })
    }

    fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    /// A run of bytes behind its length, itself `WIDTH` bytes long.
    fn counted<const WIDTH: usize>(&mut self) -> Result<&'a [u8], PickleError> {
        let len = self.array::<WIDTH>()?;
        let len = len
            .iter()
            .rev()
            .fold(0, |len, &byte| len << 8 | usize::from(byte));
        self.take(len)
    }

    fn text<const WIDTH: usize>(&mut self) -> Result<(), PickleError> {
        let text = std::str::from_utf8(self.counted::<WIDTH>()?)
            .map_err(|_| PickleError::Malformed("a string is not UTF-8"))?;
        self.push(Node::Str(text));
        Ok(())
    }

    fn blob<const WIDTH: usize>(&mut self) -> Result<(), PickleError> {
        let bytes = self.counted::<WIDTH>()?;
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    /// A little-endian two's complement integer of up to 16 bytes (torch's magic number has ten).
    fn long(&mut self) -> Result<(), PickleError> {
        let bytes = self.counted::<1>()?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide.get_mut(..bytes.len())
            .ok_or(PickleError::Malformed("an integer is too long"))?
            .copy_from_slice(bytes);
        self.push(Node::Int(i128::from_le_bytes(wide)));
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Result<usize, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(PickleError::Malformed("the stack is empty"));
        }
        self.stack
            .pop()
            .ok_or(PickleError::Malformed("the stack is empty"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<usize>, PickleError> {
        let mark = self
            .marks
            .pop()
            .ok_or(PickleError::Malformed("no mark is open"))?;
        Ok(self.stack.split_off(mark))
    }

    fn top(&self) -> Result<usize, PickleError> {
        self.stack
            .last()
            .copied()
            .ok_or(PickleError::Malformed("the stack is empty"))
    }

    fn tuple(&mut self, count: usize) -> Result<(), PickleError> {
        let mut items = (0..count)
            .map(|_| self.pop())
            .collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, mut items: Vec<usize>) -> Result<(), PickleError> {
        let list = self.top()?;
        match &mut self.nodes[list] {
            Node::List(list) => {
                list.append(&mut items);
                Ok(())
            }
            _ => Err(PickleError::Malformed("an append to what is no list")),
        }
    }

    fn set_items(&mut self, items: &[usize]) -> Result<(), PickleError> {
        let (pairs, rest) = items.as_chunks::<2>();
        let dict = self.top()?;
        match &mut self.nodes[dict] {
            Node::Dict(entries) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            _ => Err(PickleError::Malformed("items set on what is no dictionary")),
        }
    }

    fn global(&mut self) -> Result<(), PickleError> {
        let module = self.line()?;
        let name = self.line()?;
        self.admit(module, name)
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(len.ok_or(PickleError::Truncated {
            at: self.bytes.len(),
        })?)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| PickleError::Malformed("a name is not UTF-8"))
    }

    fn stack_global(&mut self) -> Result<(), PickleError> {
        let name = self.pop()?;
        let module = self.pop()?;
        match (&self.nodes[module], &self.nodes[name]) {
            (&Node::Str(module), &Node::Str(name)) => self.admit(module, name),
            _ => Err(PickleError::Malformed("a global's name is no string")),
        }
    }

    fn admit(&mut self, module: &'a str, name: &'a str) -> Result<(), PickleError> {
        if !self.allowed.contains(&(module, name)) {
            return Err(PickleError::Refused {
                module: module.to_owned(),
                name: name.to_owned(),
            });
        }
        self.push(Node::Global((module, name)));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), PickleError> {
        let args = self.pop()?;
        let function = self.pop()?;
        let &Node::Global(function) = &self.nodes[function] else {
            return Err(PickleError::Malformed("a call of what is no function"));
        };
        self.push(match function {
            ("collections", "OrderedDict") => Node::Dict(Vec::new()),
            _ => Node::Call {
                function,
                args,
                state: None,
            },
        });
        Ok(())
    }

    fn build(&mut self) -> Result<(), PickleError> {
        let given = self.pop()?;
        let object = self.top()?;
        match &mut self.nodes[object] {
            Node::Call { state, .. } => *state = Some(given),
            // The attributes of a state dict (torch's `_metadata`) say nothing about its tensors.
            Node::Dict(_) => {}
            _ => return Err(PickleError::Malformed("a state for what has none")),
        }
        Ok(())
    }

    fn memoize(&mut self, slot: usize) -> Result<(), PickleError> {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), PickleError> {
        let index = self
            .memo
            .get(&slot)
            .ok_or(PickleError::Malformed("an empty memo slot"))?;
        self.stack.push(*index);
        Ok(())
    }
}
