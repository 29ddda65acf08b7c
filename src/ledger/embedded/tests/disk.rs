//! A simulated disk that can be full, fail to sync, and lose power.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use redb::StorageBackend;

use crate::ledger::{OpenError, embedded::write_buffer::LedgerFile};

const SECTOR: usize = 512;

/// A simulated disk with the files of one ledger, as seen by one process.
#[derive(Clone, Debug, Default)]
pub(in crate::ledger::embedded) struct Disk {
    drive: Arc<Mutex<DiskState>>,
    process: u64,
}

#[derive(Debug, Default)]
struct DiskState {
    files: HashMap<u32, SectorFile>,
    /// The numbers of the current and the new file.
    names: [Option<u32>; 2],
    next: u32,
    full: bool,
    syncs_fail: bool,
    /// The number of operations until the power cut.
    operations_left: Option<u64>,
    /// The number of ended processes; a new process has none of their open files.
    processes: u64,
}

#[derive(Clone, Debug, Default)]
struct SectorFile {
    /// The content as the operating system shows it.
    visible: Vec<u8>,
    /// The content on disk.
    durable: Vec<u8>,
    /// Sectors that may differ and that the operating system will write.
    dirty: BTreeSet<usize>,
    /// Sectors that the operating system marks as clean although they may differ.
    marked_clean: BTreeSet<usize>,
}

#[derive(Debug)]
struct SimulatedFile {
    disk: Disk,
    number: u32,
}

impl Disk {
    fn drive<T>(&self, act: impl FnOnce(&mut DiskState) -> T) -> T {
        act(&mut self.drive.lock().unwrap())
    }

    // Operations of a dead process fail.
    fn if_alive<T>(&self, act: impl FnOnce(&mut DiskState) -> io::Result<T>) -> io::Result<T> {
        self.drive(|drive| {
            if drive.processes != self.process {
                return Err(io::Error::other("this process is dead"));
            }
            act(drive)
        })
    }

    /// The content of the current file, as the operating system shows it.
    pub(in crate::ledger::embedded) fn current_content(&self) -> Vec<u8> {
        self.drive(|drive| drive.files[&drive.names[0].unwrap()].visible.clone())
    }

    pub(in crate::ledger::embedded) fn fill(&self, full: bool) {
        self.drive(|drive| drive.full = full);
    }

    pub(in crate::ledger::embedded) fn fail_syncs(&self, fail: bool) {
        self.drive(|drive| drive.syncs_fail = fail);
    }

    /// The disk as seen by a new process; the previous process is dead and its writes remain.
    pub(in crate::ledger::embedded) fn next_process(&self) -> Self {
        let process = self.drive(|drive| {
            drive.processes += 1;
            drive.processes
        });
        Self { drive: Arc::clone(&self.drive), process }
    }

    /// Cuts the power after this number of operations.
    pub(in crate::ledger::embedded) fn cut_after(&self, operations: u64) {
        self.drive(|drive| drive.operations_left = Some(operations));
    }

    /// Restores the power: each sector that was not synced may have been written or not.
    pub(in crate::ledger::embedded) fn restart(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        self.drive(|drive| {
            drive.operations_left = None;
            drive.processes += 1;
            for file in drive.files.values_mut() {
                let unsure = std::mem::take(&mut file.dirty);
                file.marked_clean.clear();
                file.durable.resize(file.visible.len().max(file.durable.len()), 0);
                for sector in unsure {
                    if random.random_bool(0.5) {
                        file.write_through(sector);
                    }
                }
                file.visible.clone_from(&file.durable);
            }
        });
    }
}

impl DiskState {
    fn use_power(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&mut self, number: u32) -> &mut SectorFile {
        self.files.get_mut(&number).unwrap()
    }
}

impl SectorFile {
    fn write_through(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.visible.len());
        if from < to {
            let length = self.durable.len().max(to);
            self.durable.resize(length, 0);
            self.durable[from..to].copy_from_slice(&self.visible[from..to]);
        }
    }
}

impl LedgerFile for Disk {
    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn current(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let number = self.if_alive(|drive| Ok(drive.names[0]))?;
        let on_disk = |number| Box::new(SimulatedFile { disk: self.clone(), number });
        Ok(number.map(|number| on_disk(number) as Box<dyn StorageBackend>))
    }

    fn create_new(&self) -> io::Result<Box<dyn StorageBackend>> {
        let number = self.if_alive(|drive| {
            drive.use_power()?;
            drive.next += 1;
            drive.files.insert(drive.next, SectorFile::default());
            drive.names[1] = Some(drive.next);
            Ok(drive.next)
        })?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn replace_current(&self) -> io::Result<()> {
        self.if_alive(|drive| {
            drive.use_power()?;
            drive.names[0] = drive.names[1].take();
            Ok(())
        })
    }

    fn hash_secret(&self) -> Result<Option<Vec<u8>>, OpenError> {
        Ok(None)
    }

    fn write_hash_secret(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn location(&self) -> String {
        "simulated".to_owned()
    }
}

impl StorageBackend for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        self.disk.if_alive(|drive| Ok(drive.file(self.number).visible.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.disk.if_alive(|drive| {
            let visible = &drive.file(self.number).visible;
            let bytes = visible.get(from..from + out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.disk.if_alive(|drive| {
            drive.use_power()?;
            if drive.full && len > drive.file(self.number).visible.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            drive.file(self.number).visible.resize(len, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.if_alive(|drive| {
            drive.use_power()?;
            let fail = drive.syncs_fail;
            let file = drive.file(self.number);
            let dirty = std::mem::take(&mut file.dirty);
            if fail {
                // As Linux does: it reports the error once and marks the pages as clean.
                file.marked_clean.extend(dirty);
                return Err(io::Error::other("sync failed"));
            }
            for sector in dirty {
                file.write_through(sector);
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.disk.if_alive(|drive| {
            drive.use_power()?;
            if drive.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = drive.file(self.number);
            let to = from + data.len();
            if file.visible.len() < to {
                file.visible.resize(to, 0);
            }
            file.visible[from..to].copy_from_slice(data);
            for sector in from / SECTOR..to.div_ceil(SECTOR) {
                file.dirty.insert(sector);
                file.marked_clean.remove(&sector);
            }
            Ok(())
        })
    }
}

/// A directory that is removed after the test.
pub(in crate::ledger::embedded) struct LedgerTempDir(pub(in crate::ledger::embedded) PathBuf);

impl LedgerTempDir {
    pub(in crate::ledger::embedded) fn new(name: &str) -> Self {
        let name = format!("qod-ledger-test-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    /// The content of each file.
    pub(in crate::ledger::embedded) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

impl Drop for LedgerTempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
