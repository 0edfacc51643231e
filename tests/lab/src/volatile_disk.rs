//! A disk with a volatile write cache: what was written and not flushed is lost at a power cut.
//!
//! Killing QEMU alone loses nothing, for what it wrote is in the page cache of the machine. So
//! QEMU gets this disk over NBD, writes stay here in memory until the guest flushes (or asks for
//! FUA, or the cache is full), and a power cut forgets them: all, or those a seed picks, as a
//! real disk writes back in an order of its own.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate};

use crate::limits::VOLATILE_CACHE_BYTES_MAX;
use crate::nbd;

/// The unit that is lost or kept as a whole, in bytes.
const PAGE: usize = 4096;
const PAGE_U64: u64 = 4096;
const PAGES_MAX: usize = VOLATILE_CACHE_BYTES_MAX / PAGE;

/// What of the unflushed a power cut takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// All of it.
    All,
    /// About half of its 4 KiB pages, picked by the seed.
    Some {
        /// The same seed picks the same pages of the same writes.
        seed: u64,
    },
}

/// One disk, served until it is dropped.
#[derive(Debug)]
pub struct VolatileDisk {
    socket: PathBuf,
    cache: Arc<Mutex<Cache>>,
}

impl VolatileDisk {
    /// Serves `file`, whose length is the disk's size.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn serve(file: File) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Not in the run's folder: a socket's path has 108 bytes at most.
        let socket = env::temp_dir().join(format!("sluice-lab-{}-{number}.sock", process::id()));
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("{}", socket.display()))?;
        let size = file.metadata()?.len();
        let cache = Arc::new(Mutex::new(Cache::new(file, size)));
        let served = Arc::clone(&cache);
        thread::Builder::new()
            .name("volatile disk".to_owned())
            .spawn(move || serve_connections(&listener, &served))?;
        Ok(Self { socket, cache })
    }

    /// Where it is served, by NBD.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Forgets what was not flushed. A connection made before it is served no more.
    ///
    /// # Errors
    /// When the pages that survive can't be written.
    pub fn power_cut(&self, loss: Loss) -> Result<()> {
        lock(&self.cache).power_cut(loss)
    }
}

impl Drop for VolatileDisk {
    fn drop(&mut self) {
        lock(&self.cache).power = Power::Gone;
        // Wakes the thread that accepts, which then sees that the disk is gone.
        drop(UnixStream::connect(&self.socket));
        if let Err(error) = fs::remove_file(&self.socket) {
            eprintln!("lab: {} stays: {error}", self.socket.display());
        }
    }
}

fn lock(cache: &Mutex<Cache>) -> MutexGuard<'_, Cache> {
    // A panic of the serving thread ends the guest's I/O; the cache is still pages of bytes.
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection after the other: QEMU has one, and its successor comes after a power cut.
fn serve_connections(listener: &UnixListener, cache: &Mutex<Cache>) {
    for stream in listener.incoming() {
        let (power, size) = {
            let cache = lock(cache);
            (cache.power, cache.size)
        };
        if power == Power::Gone {
            return;
        }
        let Ok(stream) = stream else { return };
        let served = nbd::serve(&stream, size, |request| {
            let mut cache = lock(cache);
            (cache.power == power).then(|| cache.answer(request))
        });
        if let Err(error) = served {
            eprintln!("lab: volatile disk: {error:#}");
        }
    }
}

/// Which power cut the disk has seen last: a connection belongs to one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Power {
    On { since_cut: u32 },
    Gone,
}

/// An unflushed page.
#[derive(Debug)]
enum Page {
    Data(Box<[u8; PAGE]>),
    /// Discarded or zeroed.
    Zero,
}

#[derive(Debug)]
struct Cache {
    file: File,
    size: u64,
    dirty: BTreeMap<u64, Page>,
    data_pages: usize,
    power: Power,
}

impl Cache {
    fn new(file: File, size: u64) -> Self {
        Self {
            file,
            size,
            dirty: BTreeMap::new(),
            data_pages: 0,
            power: Power::On { since_cut: 0 },
        }
    }

    fn answer(&mut self, request: nbd::Request<'_>) -> Result<()> {
        match request {
            nbd::Request::Read { offset, data } => self.read(offset, data),
            nbd::Request::Write { offset, data, fua } => {
                self.write(offset, data)?;
                let pages = offset / PAGE_U64..(offset + data.len() as u64).div_ceil(PAGE_U64);
                if fua { self.write_back(pages) } else { self.make_room() }
            }
            nbd::Request::Zero { offset, len, fua } => {
                self.zero(offset, len)?;
                let pages = offset / PAGE_U64..(offset + len).div_ceil(PAGE_U64);
                if fua { self.write_back(pages) } else { self.make_room() }
            }
            nbd::Request::Flush => self.write_back(0..u64::MAX),
        }
    }

    fn read(&self, offset: u64, data: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(data, offset)?;
        for_each_page(offset, data.len(), |page, in_page, in_data| {
            match self.dirty.get(&page) {
                Some(Page::Data(bytes)) => data[in_data].copy_from_slice(&bytes[in_page]),
                Some(Page::Zero) => data[in_data].fill(0),
                None => {}
            }
            Ok(())
        })
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        for_each_page(offset, data.len(), |page, in_page, in_data| {
            self.data_page(page)?[in_page].copy_from_slice(&data[in_data]);
            Ok(())
        })
    }

    fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        // The edges may be parts of pages; whole pages between them cost no memory.
        let end = offset + len;
        let first_whole = offset.div_ceil(PAGE_U64);
        let past_whole = end / PAGE_U64;
        if first_whole > past_whole {
            return self.write(offset, &vec![0; usize::try_from(len)?]);
        }
        let head = first_whole * PAGE_U64 - offset;
        let tail = end - past_whole * PAGE_U64;
        self.write(offset, &vec![0; usize::try_from(head)?])?;
        self.write(past_whole * PAGE_U64, &vec![0; usize::try_from(tail)?])?;
        for page in first_whole..past_whole {
            if let Some(Page::Data(_)) = self.dirty.insert(page, Page::Zero) {
                self.data_pages -= 1;
            }
        }
        Ok(())
    }

    /// The unflushed bytes of a page, begun with what is on the disk.
    fn data_page(&mut self, page: u64) -> Result<&mut [u8; PAGE]> {
        if !matches!(self.dirty.get(&page), Some(Page::Data(_))) {
            let mut bytes = Box::new([0; PAGE]);
            if !self.dirty.contains_key(&page) {
                self.file.read_exact_at(&mut bytes[..], page * PAGE_U64)?;
            }
            self.dirty.insert(page, Page::Data(bytes));
            self.data_pages += 1;
        }
        match self.dirty.get_mut(&page) {
            Some(Page::Data(bytes)) => Ok(bytes),
            Some(Page::Zero) | None => unreachable!("the page was made a data page above"),
        }
    }

    fn make_room(&mut self) -> Result<()> {
        if self.data_pages > PAGES_MAX { self.write_back(0..u64::MAX) } else { Ok(()) }
    }

    /// Makes the unflushed pages of a range durable.
    fn write_back(&mut self, pages: std::ops::Range<u64>) -> Result<()> {
        let chosen: Vec<u64> = self.dirty.range(pages).map(|(page, _)| *page).collect();
        for page in chosen {
            match self.dirty.remove(&page) {
                Some(Page::Data(bytes)) => {
                    self.data_pages -= 1;
                    self.file.write_all_at(&bytes[..], page * PAGE_U64)?;
                }
                Some(Page::Zero) => fallocate(
                    &self.file,
                    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    page * PAGE_U64,
                    PAGE_U64,
                )?,
                None => {}
            }
        }
        Ok(())
    }

    fn power_cut(&mut self, loss: Loss) -> Result<()> {
        if let Power::On { since_cut } = self.power {
            self.power = Power::On { since_cut: since_cut + 1 };
        }
        if let Loss::Some { mut seed } = loss {
            let kept: Vec<u64> =
                self.dirty.keys().copied().filter(|_| splitmix64(&mut seed) & 1 == 1).collect();
            for page in kept {
                self.write_back(page..page + 1)?;
            }
        }
        self.dirty.clear();
        self.data_pages = 0;
        Ok(())
    }
}

/// Calls with the page's number, the range within the page and the range within the data.
fn for_each_page(
    offset: u64,
    len: usize,
    mut visit: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> Result<()>,
) -> Result<()> {
    let mut done = 0;
    while done < len {
        let at = offset + done as u64;
        let start = usize::try_from(at % PAGE_U64)?;
        let part = (PAGE - start).min(len - done);
        visit(at / PAGE_U64, start..start + part, done..done + part)?;
        done += part;
    }
    Ok(())
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;

    fn cache() -> Cache {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        Cache::new(file, SIZE)
    }

    fn read(cache: &Cache, offset: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0xee; len];
        cache.read(offset, &mut data).unwrap();
        data
    }

    #[test]
    fn power_cut_takes_what_was_not_flushed_and_nothing_else() {
        let mut cache = cache();
        cache.write(5000, &[1; 9000]).unwrap();
        cache.answer(nbd::Request::Flush).unwrap();
        cache.write(6000, &[2; 100]).unwrap();
        cache.zero(8192, 4096).unwrap();
        assert_eq!(read(&cache, 6000, 100), [2; 100]);
        assert_eq!(read(&cache, 8192, 4096), [0; 4096]);
        cache.power_cut(Loss::All).unwrap();
        assert_eq!(read(&cache, 5000, 9000), [1; 9000]);
        assert_eq!(read(&cache, 0, 5000), [0; 5000]);
        assert_eq!(cache.data_pages, 0);
    }

    #[test]
    fn fua_keeps_its_own_pages_only() {
        let mut cache = cache();
        cache.write(0, &[1; 4096]).unwrap();
        let forced = nbd::Request::Write { offset: 8192, data: &[2; 4096], fua: true };
        cache.answer(forced).unwrap();
        cache.power_cut(Loss::All).unwrap();
        assert_eq!(read(&cache, 0, 4096), [0; 4096]);
        assert_eq!(read(&cache, 8192, 4096), [2; 4096]);
    }

    #[test]
    fn a_flushed_discard_stays_discarded() {
        let mut cache = cache();
        cache.write(0, &[7; 16384]).unwrap();
        cache.write_back(0..u64::MAX).unwrap();
        cache.zero(100, 8092).unwrap();
        cache.write_back(0..u64::MAX).unwrap();
        cache.power_cut(Loss::All).unwrap();
        assert_eq!(read(&cache, 0, 100), [7; 100]);
        assert_eq!(read(&cache, 100, 8092), [0; 8092]);
        assert_eq!(read(&cache, 8192, 8192), [7; 8192]);
    }

    #[test]
    fn some_loss_keeps_some_pages_whole_and_loses_others() {
        let mut cache = cache();
        cache.write(0, &[9; 64 * PAGE]).unwrap();
        cache.power_cut(Loss::Some { seed: 1 }).unwrap();
        let pages: Vec<u8> = (0..64).map(|page| read(&cache, page * PAGE_U64, 1)[0]).collect();
        for (page, first) in (0_u64..).zip(&pages) {
            assert_eq!(read(&cache, page * PAGE_U64, PAGE), vec![*first; PAGE], "torn page");
        }
        assert!(pages.contains(&0) && pages.contains(&9), "{pages:?}");
    }

    #[test]
    fn the_cache_is_bounded() {
        let file = tempfile::tempfile().unwrap();
        let size = 2 * VOLATILE_CACHE_BYTES_MAX as u64;
        file.set_len(size).unwrap();
        let mut cache = Cache::new(file, size);
        let data = vec![1; 1 << 20];
        for mib in 0..size >> 20 {
            let write = nbd::Request::Write { offset: mib << 20, data: &data, fua: false };
            cache.answer(write).unwrap();
            assert!(cache.dirty.len() <= PAGES_MAX);
        }
    }
}
