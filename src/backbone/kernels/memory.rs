//! Buffers that are allocated once and reused for every image: zeroed, aligned to a cache line, and to 2 MiB where large,
//! so that the operating system may back them by huge pages (up to 3 % of the whole network).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

const LINE_BYTES: usize = 64;
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// From here on a buffer is rounded up to whole huge pages.
const LARGE_BYTES: usize = HUGE_PAGE_BYTES / 4;

/// An owned, zeroed block of bytes, a multiple of 64 long and at least 64-byte aligned.
pub(super) struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block owns its memory as a Vec<u8> does; shared references only read it.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// A block of `bytes` zeros, rounded up to whole lines or huge pages.
    pub(super) fn zeroed(bytes: usize) -> Self {
        let align = if bytes >= LARGE_BYTES {
            HUGE_PAGE_BYTES
        } else {
            LINE_BYTES
        };
        let size = bytes.max(1).next_multiple_of(align);
        let layout = Layout::from_size_align(size, align).expect("sizes are bounded by SIDE_MAX");
        // SAFETY: the layout's size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        // Before the first touch, so not `alloc_zeroed`: pages that exist already would stay small.
        #[cfg(all(target_os = "linux", not(miri)))]
        if align == HUGE_PAGE_BYTES {
            // SAFETY: the range is ours and whole pages; the advice changes no contents, and its refusal is harmless.
            unsafe { libc::madvise(start.as_ptr().cast(), size, libc::MADV_HUGEPAGE) };
        }
        // SAFETY: `start` is valid for writes of `size` bytes.
        unsafe { start.as_ptr().write_bytes(0, size) };
        Self { start, layout }
    }

    /// The block as f32 words.
    pub(super) fn words_mut(&mut self) -> &mut [f32] {
        // SAFETY: aligned to 64, initialised, every bit pattern is an f32, and the borrow is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.layout.size() / 4)
        }
    }

    /// The block as the bits of bf16 values.
    pub(super) fn halves_mut(&mut self) -> &mut [u16] {
        // SAFETY: as for `words_mut`.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.layout.size() / 2)
        }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the whole layout was initialised at birth and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_every_size_are_zeroed_aligned_and_long_enough() {
        for bytes in [
            0,
            1,
            64,
            65,
            LARGE_BYTES - 1,
            LARGE_BYTES,
            HUGE_PAGE_BYTES + 1,
        ] {
            let mut block = Block::zeroed(bytes);
            assert!(block.len() >= bytes && block.len().is_multiple_of(LINE_BYTES));
            assert_eq!(block.as_ptr() as usize % LINE_BYTES, 0);
            assert!(block.iter().all(|&b| b == 0));
            *block.words_mut().last_mut().unwrap() = 1.0;
            assert_eq!(*block.halves_mut().last().unwrap(), 0x3f80);
        }
    }
}
