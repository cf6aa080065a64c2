//! Scans, and the tables and hints that stand before them.

use super::{
    super::DecodeError,
    colour::ColourHints,
    entropy::{BlockReader, BlockTables, Pass, ZIGZAG},
    fault::Fault,
    frame::Frame,
    huffman::HuffmanTable,
    standard,
};

fn corrupt(what: &str) -> DecodeError {
    DecodeError::Corrupt(format!("a JPEG {what}"))
}

/// What the segments so far have defined.
#[derive(Default)]
pub(super) struct Tables {
    /// Steps of each table, row by row.
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
    /// Units between restart markers, or 0 for none.
    restart_interval: usize,
    pub colour: ColourHints,
}

impl Tables {
    /// Takes in the segment behind marker `code`, if it defines something.
    pub fn read(&mut self, code: u8, segment: &[u8]) -> Result<(), DecodeError> {
        match code {
            0xC4 => self.read_huffman(segment),
            0xDB => self.read_quantisation(segment),
            0xDD => {
                let &[high, low] = segment else {
                    return Err(corrupt("restart interval of the wrong length"));
                };
                self.restart_interval = usize::from(u16::from_be_bytes([high, low]));
                Ok(())
            }
            0xE0 => {
                self.colour.jfif |= segment.len() >= 12 && segment.starts_with(b"JFIF\0");
                Ok(())
            }
            0xEE => {
                if let (true, Some(&transform)) = (segment.starts_with(b"Adobe"), segment.get(11)) {
                    self.colour.adobe_transform = Some(transform);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn read_quantisation(&mut self, mut rest: &[u8]) -> Result<(), DecodeError> {
        while let Some((&head, values)) = rest.split_first() {
            let bytes_per_step = match head >> 4 {
                0 => 1,
                1 => 2,
                _ => return Err(corrupt("quantisation table of unknown precision")),
            };
            let Some((values, behind)) = values.split_at_checked(64 * bytes_per_step) else {
                return Err(corrupt("quantisation table that is too short"));
            };
            let table = self.quantisation.get_mut(usize::from(head & 15));
            let steps = table.ok_or_else(|| corrupt("quantisation table beyond the fourth"))?;
            let steps = steps.insert([0; 64]);
            for (place, value) in ZIGZAG.into_iter().zip(values.chunks_exact(bytes_per_step)) {
                steps[place] = value
                    .iter()
                    .fold(0, |step, &byte| step << 8 | u16::from(byte));
            }
            rest = behind;
        }
        Ok(())
    }

    fn read_huffman(&mut self, mut rest: &[u8]) -> Result<(), DecodeError> {
        while let Some((&head, values)) = rest.split_first() {
            let short = || corrupt("Huffman table that is too short");
            let (counts, values) = values.split_first_chunk::<16>().ok_or_else(short)?;
            let codes = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, behind) = values.split_at_checked(codes).ok_or_else(short)?;
            let tables = match head >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return Err(corrupt("Huffman table of unknown kind")),
            };
            *tables
                .get_mut(usize::from(head & 15))
                .ok_or_else(|| corrupt("Huffman table beyond the fourth"))? =
                Some(HuffmanTable::new(counts, symbols)?);
            rest = behind;
        }
        Ok(())
    }
}

/// One pass over the blocks of some components.
pub(super) struct Scan<'a> {
    /// Which components of the frame, and how their blocks are coded.
    parts: Vec<(usize, BlockTables)>,
    reader: BlockReader<'a>,
    restart_interval: usize,
    /// Units until the next restart marker.
    before_restart: usize,
}

impl<'a> Scan<'a> {
    /// A scan with this header, as the tables stand, over `data`.
    pub fn begin(
        header: &[u8],
        data: &'a [u8],
        frame: &mut Frame,
        tables: &Tables,
    ) -> Result<Self, DecodeError> {
        let wrong = || corrupt("scan header of the wrong length");
        let (&count, rest) = header.split_first().ok_or_else(wrong)?;
        let (selectors, rest) = rest
            .split_at_checked(2 * usize::from(count))
            .ok_or_else(wrong)?;
        let &[start, end, bits] = rest else {
            return Err(wrong());
        };
        let progressive = frame.progressive;
        let mut parts: Vec<(usize, BlockTables)> = Vec::new();
        for &[id, coding] in selectors.as_chunks().0 {
            // Where several have one id, each is meant in turn.
            let free = |index: usize| parts.iter().all(|(taken, _)| *taken != index);
            let mut components = frame.components.iter().enumerate();
            let index = components
                .position(|(index, part)| part.id == id && free(index))
                .ok_or_else(|| corrupt("scan of components that are not the frame's"))?;
            let part = &mut frame.components[index];
            if part.steps.is_none() {
                let steps = tables.quantisation.get(usize::from(part.table)).copied();
                part.steps = steps.flatten();
            }
            if part.steps.is_none() {
                return Err(corrupt("without a quantisation table that it needs"));
            }
            let of = |tables: &[Option<HuffmanTable>; 4], usual: &[HuffmanTable], number: u8| {
                let number = usize::from(number);
                let usual = usual.get(number).filter(|_| !progressive);
                let own = tables.get(number).and_then(Option::as_ref);
                own.or(usual).cloned()
            };
            let dc = of(&tables.dc, &*standard::DC, coding >> 4);
            let ac = of(&tables.ac, &*standard::AC, coding & 15);
            parts.push((index, BlockTables { dc, ac }));
        }
        let pass = if frame.progressive {
            progressive_pass(start, end, bits)
                .filter(|pass| matches!(pass, Pass::Dc { .. } | Pass::DcBit { .. }) || count == 1)
                .ok_or_else(|| corrupt("scan of an impossible part of the coefficients"))?
        } else {
            Pass::Sequential
        };
        if parts.is_empty() {
            return Err(corrupt("scan of no component"));
        }
        for (index, _) in &parts {
            frame.components[*index].brings(pass);
        }
        Ok(Self {
            parts,
            reader: BlockReader::new(data, pass),
            restart_interval: tables.restart_interval,
            before_restart: tables.restart_interval,
        })
    }

    /// Rows of units in this scan. A component by itself comes block by block, and only those of the picture.
    pub fn rows(&self, frame: &Frame) -> usize {
        match self.parts[..] {
            [(index, _)] => frame.components[index].blocks().1,
            _ => frame.units_down,
        }
    }

    /// Reads the coefficients of the next row of units, which is number `row`.
    pub fn row(&mut self, frame: &mut Frame, row: usize) -> Result<(), Fault> {
        if let [(index, tables)] = &self.parts[..] {
            let part = &mut frame.components[*index];
            for column in 0..part.blocks().0 {
                restart_if_due(
                    &mut self.reader,
                    &mut self.before_restart,
                    self.restart_interval,
                )?;
                self.reader.block(0, tables, part.block(row, column))?;
            }
            return Ok(());
        }
        for unit in 0..frame.units_across {
            restart_if_due(
                &mut self.reader,
                &mut self.before_restart,
                self.restart_interval,
            )?;
            for (number, (index, tables)) in self.parts.iter().enumerate() {
                let part = &mut frame.components[*index];
                for y in 0..part.down {
                    for x in 0..part.across {
                        let block = part.block(row * part.down + y, unit * part.across + x);
                        self.reader.block(number, tables, block)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Counts one more unit, behind a restart marker where the interval is over.
fn restart_if_due(
    reader: &mut BlockReader,
    before_restart: &mut usize,
    interval: usize,
) -> Result<(), Fault> {
    if interval == 0 {
        return Ok(());
    }
    if *before_restart == 0 {
        reader.restart()?;
        *before_restart = interval;
    }
    *before_restart -= 1;
    Ok(())
}

/// What a progressive scan from coefficient `start` to `end` brings; `bits` are the last bit sent before and the last
/// of this one.
fn progressive_pass(start: u8, end: u8, bits: u8) -> Option<Pass> {
    let (before, low) = (bits >> 4, bits & 15);
    let first = before == 0;
    if low > 13 || end > 63 || end < start || !(first || before == low + 1) {
        return None;
    }
    let (start, end) = (usize::from(start), usize::from(end));
    match (start, end, first) {
        (0, 0, true) => Some(Pass::Dc { low }),
        (0, 0, false) => Some(Pass::DcBit { low }),
        (0, _, _) => None,
        (_, _, true) => Some(Pass::Ac { start, end, low }),
        (_, _, false) => Some(Pass::AcBit { start, end, low }),
    }
}
