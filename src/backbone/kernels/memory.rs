//! Buffers that are allocated once and reused for every image: zeroed, and aligned to a cache line.
//!
//! Those that are made one after the other lie so, whatever their size, in memory that the operating system may back by huge pages.
//! So they share a second-level cache evenly, which is as large as such a page, and need few entries of the TLB: 3 to 7 % of a whole
//! network against pages of their own. With debug assertions each lies alone, so that a sanitizer sees what runs past its end.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

const LINE_BYTES: usize = 64;
const HUGE_PAGE_BYTES: usize = if cfg!(miri) { 1 << 9 } else { 2 << 20 };
/// Whether blocks share slabs.
const SHARED: bool = !cfg!(debug_assertions);
/// Where slabs may begin and end.
const SLAB_ALIGN: usize = if SHARED { HUGE_PAGE_BYTES } else { LINE_BYTES };
/// Of a slab, unless a block is larger. What of it is not given away is not touched either.
const SLAB_BYTES: usize = if SHARED { 4 * HUGE_PAGE_BYTES } else { 0 };

/// Memory, mostly whole huge pages, that blocks are cut from. It goes with the last of these.
struct Slab {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a slab is an address that is freed once; what lies there is its blocks' affair.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    fn new(bytes: usize) -> Self {
        let size = bytes.next_multiple_of(SLAB_ALIGN);
        let layout = Layout::from_size_align(size, SLAB_ALIGN);
        let layout = layout.expect("sizes are bounded by SIDE_MAX");
        // SAFETY: the layout's size is not zero, as no block's is.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        // Before the first touch, so not `alloc_zeroed`: pages that exist already would stay small.
        #[cfg(all(target_os = "linux", not(miri)))]
        // SAFETY: the range is ours; the advice changes no contents, and its refusal (of what is no page) is harmless.
        unsafe {
            libc::madvise(start.as_ptr().cast(), size, libc::MADV_HUGEPAGE);
        }
        Self { start, layout }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// The slab that has the most left to give away, and what of it is given.
struct Open {
    slab: Weak<Slab>,
    used: usize,
}

static OPEN: Mutex<Open> = Mutex::new(Open {
    slab: Weak::new(),
    used: 0,
});

impl Open {
    /// The next `bytes` of a slab, as an offset.
    fn cut(&mut self, bytes: usize) -> (Arc<Slab>, usize) {
        let open = self.slab.upgrade();
        let left = |slab: &Arc<Slab>| slab.layout.size() - self.used;
        let left = open.as_ref().map_or(0, left);
        if let Some(slab) = open.filter(|_| bytes <= left) {
            let from = self.used;
            self.used += bytes;
            return (slab, from);
        }
        let slab = Arc::new(Slab::new(bytes.max(SLAB_BYTES)));
        if slab.layout.size() - bytes > left {
            *self = Self {
                slab: Arc::downgrade(&slab),
                used: bytes,
            };
        }
        (slab, 0)
    }
}

/// An owned, zeroed block of bytes, a multiple of 64 long and at least 64-byte aligned.
pub(super) struct Block {
    start: NonNull<u8>,
    bytes: usize,
    /// Holds the memory.
    _slab: Arc<Slab>,
}

// SAFETY: a block owns its part of a slab as a Vec<u8> does its memory; shared references only read it.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// A block of `bytes` zeros, rounded up to whole lines.
    pub(super) fn zeroed(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(LINE_BYTES);
        let (slab, from) = (OPEN.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .cut(bytes);
        // SAFETY: `cut` gives each range of a slab away once, and never one past its end; so it is ours to write.
        let start = unsafe {
            let start = slab.start.add(from);
            start.write_bytes(0, bytes);
            start
        };
        Self {
            start,
            bytes,
            _slab: slab,
        }
    }

    /// The block as f32 words.
    pub(super) fn words_mut(&mut self) -> &mut [f32] {
        // SAFETY: aligned to 64, initialised, every bit pattern is an f32, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes / 4) }
    }

    /// The block as the bits of bf16 values.
    pub(super) fn halves_mut(&mut self) -> &mut [u16] {
        // SAFETY: as for `words_mut`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.bytes / 2) }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: all of it was initialised at birth and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn blocks_of_every_size_are_zeroed_aligned_and_long_enough() {
        for bytes in [0, 1, 64, 65, HUGE_PAGE_BYTES + 1, SLAB_BYTES + 1] {
            let mut block = Block::zeroed(bytes);
            assert!(block.len() >= bytes && block.len().is_multiple_of(LINE_BYTES));
            assert_eq!(block.as_ptr() as usize % LINE_BYTES, 0);
            assert!(block.iter().all(|&b| b == 0));
            *block.words_mut().last_mut().unwrap() = 1.0;
            assert_eq!(*block.halves_mut().last().unwrap(), 0x3f80);
        }
    }

    /// On several threads, and with blocks that go before others come.
    #[test]
    fn no_two_blocks_share_a_byte() {
        let large = HUGE_PAGE_BYTES.max(SLAB_BYTES);
        let small = if cfg!(miri) { 500 } else { 5_000 };
        let sizes = [100, large / 3, small, large + 1, 64, large];
        let work = |mark: u8| {
            for turn in 0..4 {
                let mut blocks: Vec<_> = sizes.iter().map(|bytes| Block::zeroed(*bytes)).collect();
                blocks.swap_remove(turn);
                blocks.extend(sizes.iter().map(|bytes| Block::zeroed(*bytes)));
                let marks = || (0..).map(|i| mark.wrapping_add(i));
                for (block, mark) in blocks.iter_mut().zip(marks()) {
                    assert!(block.iter().all(|&b| b == 0));
                    block.fill(mark);
                }
                for (block, mark) in blocks.iter().zip(marks()) {
                    assert!(block.iter().all(|&b| b == mark));
                }
            }
        };
        thread::scope(|scope| {
            for thread in 0..3 {
                scope.spawn(move || work(1 + 32 * thread));
            }
        });
    }

    #[test]
    #[cfg(not(debug_assertions))]
    fn a_slab_goes_with_its_last_block_and_gives_its_rest_away_once() {
        let mut open = Open {
            slab: Weak::new(),
            used: 0,
        };
        let (first, from) = open.cut(LINE_BYTES);
        let (second, next) = open.cut(LINE_BYTES);
        assert!(Arc::ptr_eq(&first, &second) && (from, next) == (0, LINE_BYTES));
        // What doesn't fit gets a slab for itself, and leaves less than the first has left.
        let (large, from) = open.cut(SLAB_BYTES);
        assert!(!Arc::ptr_eq(&first, &large) && from == 0);
        let (third, next) = open.cut(LINE_BYTES);
        assert!(Arc::ptr_eq(&first, &third) && next == 2 * LINE_BYTES);
        let gone = Arc::downgrade(&first);
        drop((first, second, third));
        assert!(gone.upgrade().is_none());
        assert_eq!(open.cut(LINE_BYTES).1, 0);
    }
}
