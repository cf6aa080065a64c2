//! The entropy-coded data of a scan -> coefficients (ITU-T T.81, annexes F and G).
//!
//! Strict: a code that no table has, a coefficient beyond its block, and data that ends before the last block are
//! errors. Nothing is made up for what is lost.

use super::{fault::Fault, huffman::HuffmanTable};

/// Where the coefficients of the zigzag order lie in the block, row by row.
#[rustfmt::skip]
pub(super) const ZIGZAG: [usize; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The bits of a scan, without the zeros stuffed behind bytes of ones.
struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, the first of them on top; zeros behind them.
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Makes at least 32 bits ready, unless a marker or the end comes first.
    #[inline]
    fn refill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.data.get(self.at) else {
                return;
            };
            if byte == 0xFF {
                if self.data.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline]
    fn skip(&mut self, count: u32) -> Result<(), Fault> {
        if count > self.count {
            return Err(Fault::EndsEarly);
        }
        self.held <<= count;
        self.count -= count;
        Ok(())
    }

    /// Up to 16 bits as a number.
    #[inline]
    fn take(&mut self, count: u32) -> Result<i32, Fault> {
        if self.count < count {
            self.refill();
        }
        // In two steps, because a shift by 64 is none.
        let bits = (self.held >> 1 >> (63 - count)) as i32;
        self.skip(count)?;
        Ok(bits)
    }

    #[inline]
    fn symbol(&mut self, table: &HuffmanTable) -> Result<u8, Fault> {
        if self.count < 32 {
            self.refill();
        }
        let next = (self.held >> 48) as u32;
        let (length, symbol) = table.find(next)?;
        self.skip(length)?;
        Ok(symbol)
    }

    /// A number of `size` bits, of which a leading 0 says that it is negative.
    #[inline]
    fn signed(&mut self, size: u8) -> Result<i32, Fault> {
        let bits = self.take(u32::from(size))?;
        let negative = size > 0 && bits >> (size - 1) == 0;
        Ok(if negative {
            bits - (1 << size) + 1
        } else {
            bits
        })
    }

    /// On to the data behind the next restart marker, which must be number `index` of eight.
    fn restart(&mut self, index: u8) -> Result<(), Fault> {
        let rest = &self.data[self.at..];
        let marker = rest
            .windows(2)
            .position(|pair| pair[0] == 0xFF && matches!(pair[1], 0xD0..=0xD7))
            .filter(|&marker| rest[marker + 1] == 0xD0 + index)
            .ok_or(Fault::Restart)?;
        self.at += marker + 2;
        (self.held, self.count) = (0, 0);
        Ok(())
    }
}

/// Which part of the coefficients a scan brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// All of them.
    Sequential,
    /// The first, without its last `low` bits.
    Dc { low: u8 },
    /// One more bit of the first.
    DcBit { low: u8 },
    /// Some of the others in zigzag order, without their last `low` bits.
    Ac { start: usize, end: usize, low: u8 },
    /// One more bit of them.
    AcBit { start: usize, end: usize, low: u8 },
}

/// The Huffman tables that a component's blocks are coded with.
pub(super) struct BlockTables {
    pub dc: Option<HuffmanTable>,
    pub ac: Option<HuffmanTable>,
}

fn present(table: &Option<HuffmanTable>) -> Result<&HuffmanTable, Fault> {
    table.as_ref().ok_or(Fault::NoTable)
}

/// Reads block after block of one scan.
pub(super) struct BlockReader<'a> {
    bits: Bits<'a>,
    pass: Pass,
    /// The last first coefficient of each component of the scan.
    last_dc: [i32; 4],
    /// Blocks to come without any further coefficient of this scan.
    empty_blocks: u32,
    restart_index: u8,
}

impl<'a> BlockReader<'a> {
    pub fn new(data: &'a [u8], pass: Pass) -> Self {
        Self {
            bits: Bits {
                data,
                at: 0,
                held: 0,
                count: 0,
            },
            pass,
            last_dc: [0; 4],
            empty_blocks: 0,
            restart_index: 0,
        }
    }

    /// Begins anew behind the next restart marker.
    pub fn restart(&mut self) -> Result<(), Fault> {
        self.bits.restart(self.restart_index)?;
        self.restart_index = (self.restart_index + 1) % 8;
        self.last_dc = [0; 4];
        self.empty_blocks = 0;
        Ok(())
    }

    /// Reads the next block, which is of the scan's component number `part`.
    pub fn block(
        &mut self,
        part: usize,
        tables: &BlockTables,
        block: &mut [i16; 64],
    ) -> Result<(), Fault> {
        match self.pass {
            Pass::Sequential => {
                block.fill(0);
                block[0] = self.dc(part, tables)? as i16;
                self.ac(present(&tables.ac)?, block)
            }
            Pass::Dc { low } => {
                block[0] = (self.dc(part, tables)? << low) as i16;
                Ok(())
            }
            Pass::DcBit { low } => {
                block[0] |= (self.bits.take(1)? << low) as i16;
                Ok(())
            }
            Pass::Ac { start, end, low } => {
                self.ac_first(present(&tables.ac)?, block, start..=end, low)
            }
            Pass::AcBit { start, end, low } => {
                self.ac_bit(present(&tables.ac)?, block, start..=end, low)
            }
        }
    }

    fn dc(&mut self, part: usize, tables: &BlockTables) -> Result<i32, Fault> {
        let size = self.bits.symbol(present(&tables.dc)?)?;
        if size > 15 {
            return Err(Fault::LargeCoefficient);
        }
        let dc = self.last_dc[part].wrapping_add(self.bits.signed(size)?);
        self.last_dc[part] = dc;
        Ok(dc)
    }

    fn ac(&mut self, table: &HuffmanTable, block: &mut [i16; 64]) -> Result<(), Fault> {
        let mut k = 1;
        while k < 64 {
            let symbol = self.bits.symbol(table)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            if size == 0 {
                if run < 15 {
                    break;
                }
                k += 16;
                continue;
            }
            k += run;
            *place(block, k, 63)? = self.bits.signed(size)? as i16;
            k += 1;
        }
        Ok(())
    }

    fn ac_first(
        &mut self,
        table: &HuffmanTable,
        block: &mut [i16; 64],
        band: std::ops::RangeInclusive<usize>,
        low: u8,
    ) -> Result<(), Fault> {
        if self.empty_blocks > 0 {
            self.empty_blocks -= 1;
            return Ok(());
        }
        let (mut k, end) = band.into_inner();
        while k <= end {
            let symbol = self.bits.symbol(table)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            if size == 0 {
                if run < 15 {
                    self.empty_blocks = self.run_of_empty_blocks(run)? - 1;
                    break;
                }
                k += 16;
                continue;
            }
            k += usize::from(run);
            *place(block, k, end)? = (self.bits.signed(size)? << low) as i16;
            k += 1;
        }
        Ok(())
    }

    /// This block and those behind it that have no further coefficient.
    fn run_of_empty_blocks(&mut self, bits: u8) -> Result<u32, Fault> {
        Ok((1 << bits) + self.bits.take(u32::from(bits))? as u32)
    }

    /// Coefficients that were not 0 get a bit each where they are passed; new ones appear among those that were.
    fn ac_bit(
        &mut self,
        table: &HuffmanTable,
        block: &mut [i16; 64],
        band: std::ops::RangeInclusive<usize>,
        low: u8,
    ) -> Result<(), Fault> {
        let step = 1_i16 << low;
        let (mut k, end) = band.into_inner();
        if self.empty_blocks == 0 {
            while k <= end {
                let symbol = self.bits.symbol(table)?;
                let (run, size) = (symbol >> 4, symbol & 15);
                let new = match (run, size) {
                    (15, 0) => 0,
                    (_, 0) => {
                        self.empty_blocks = self.run_of_empty_blocks(run)?;
                        break;
                    }
                    _ if self.bits.take(1)? == 1 => step,
                    _ => -step,
                };
                k = self.refine(block, k..=end, step, Some(run))?;
                if new != 0 {
                    *place(block, k, end)? = new;
                }
                k += 1;
            }
        }
        if self.empty_blocks > 0 {
            self.empty_blocks -= 1;
            self.refine(block, k..=end, step, None)?;
        }
        Ok(())
    }

    /// A bit for each coefficient that is not 0, up to the zero behind `zeros` others or, without, to the end. Where it
    /// stopped.
    fn refine(
        &mut self,
        block: &mut [i16; 64],
        band: std::ops::RangeInclusive<usize>,
        step: i16,
        zeros: Option<u8>,
    ) -> Result<usize, Fault> {
        let mut left = zeros;
        let after = *band.end() + 1;
        for k in band {
            let value = &mut block[ZIGZAG[k]];
            if *value != 0 {
                if self.bits.take(1)? == 1 && *value & step == 0 {
                    *value = value.wrapping_add(step * value.signum());
                }
            } else if left == Some(0) {
                return Ok(k);
            } else {
                left = left.map(|zeros| zeros - 1);
            }
        }
        Ok(after)
    }
}

/// Coefficient `k` of the zigzag order, if the scan goes so far.
#[inline]
fn place(block: &mut [i16; 64], k: usize, end: usize) -> Result<&mut i16, Fault> {
    if k > end {
        return Err(Fault::BeyondBlock);
    }
    Ok(&mut block[ZIGZAG[k]])
}
