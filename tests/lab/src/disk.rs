//! Scratch disks of the target: sparse files that QEMU shows as virtio disks with discard and a
//! write cache, so that `O_DIRECT`, flush and discard really run.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::limits::DISK_SIZE_MIB_MAX;
use crate::volatile_disk::{Loss, VolatileDisk};

/// One disk as a scenario's header describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiskSpec {
    /// Its size in MiB.
    pub size_mib: u64,
    /// It loses at a power cut what was not flushed; slower than a plain one.
    pub volatile: bool,
}

impl DiskSpec {
    /// `COUNTxSIZEMiB[:volatile]`, separated by spaces: "2x256MiB 1x64MiB:volatile".
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        let mut disks = Vec::new();
        for word in text.split_whitespace() {
            let (count, spec) = Self::parse(word).with_context(|| {
                format!("'{word}': disks look like 2x256MiB or 1x64MiB:volatile")
            })?;
            for _ in 0..count {
                disks.push(spec);
            }
        }
        Ok(disks)
    }

    fn parse(word: &str) -> Result<(u8, Self)> {
        let (count, rest) = word.split_once('x').context("no count")?;
        let (size, volatile) = match rest.split_once(':') {
            None => (rest, false),
            Some((size, "volatile")) => (size, true),
            Some((_, kind)) => bail!("no kind of disk '{kind}'"),
        };
        let size_mib = size.strip_suffix("MiB").context("no MiB")?.parse().context("no size")?;
        ensure!((1..=DISK_SIZE_MIB_MAX).contains(&size_mib), "1 to {DISK_SIZE_MIB_MAX} MiB");
        Ok((count.parse().context("no count")?, Self { size_mib, volatile }))
    }
}

/// A disk of a running session.
#[derive(Debug)]
pub enum Disk {
    /// QEMU writes the file itself; what it was told survives its death.
    Plain {
        /// The image.
        file: PathBuf,
    },
    /// Behind a cache of ours.
    Volatile(VolatileDisk),
}

impl Disk {
    /// An empty disk as `folder/scratchINDEX.img`.
    ///
    /// # Errors
    /// When the file or the socket can't be made.
    pub fn create(folder: &Path, index: usize, spec: DiskSpec) -> Result<Self> {
        let path = folder.join(format!("scratch{index}.img"));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("{}", path.display()))?;
        file.set_len(spec.size_mib << 20)?;
        if spec.volatile {
            Ok(Self::Volatile(VolatileDisk::serve(file)?))
        } else {
            Ok(Self::Plain { file: path })
        }
    }

    /// QEMU's arguments for the disk with this number.
    pub fn arguments(&self, index: usize) -> [String; 4] {
        let node = match self {
            Self::Plain { file } => format!(
                "driver=raw,node-name=scratch{index},discard=unmap,\
                 file.driver=file,file.discard=unmap,file.filename={}",
                file.display()
            ),
            Self::Volatile(disk) => format!(
                "driver=nbd,node-name=scratch{index},discard=unmap,\
                 server.type=unix,server.path={}",
                disk.socket().display()
            ),
        };
        let device = format!(
            "virtio-blk-pci,drive=scratch{index},serial=scratch{index},\
             discard=on,write-zeroes=on,write-cache=on,physical_block_size=4096"
        );
        ["-blockdev".to_owned(), node, "-device".to_owned(), device]
    }

    /// What a power cut does to it once QEMU is dead.
    ///
    /// # Errors
    /// When the file below can't be written.
    pub fn power_cut(&self, loss: Loss) -> Result<()> {
        match self {
            Self::Plain { .. } => Ok(()),
            Self::Volatile(disk) => disk.power_cut(loss),
        }
    }
}
