//! A disk that can be full, that can fail to sync, and that can lose its power.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Mutex,
};

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{super::keys::KEY, *};

const SECTOR: usize = 512;

/// A simulated disk with the files of one ledger, as one process has it.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Disk {
    drive: Arc<Mutex<Drive>>,
    process: u64,
}

#[derive(Debug, Default)]
struct Drive {
    files: HashMap<u32, File512>,
    /// Which file is which: as the system shows it, and as the disk has it.
    names: [Option<u32>; 2],
    next: u32,
    full: bool,
    syncs_fail: bool,
    /// After so many operations the power is gone.
    power_left: Option<u64>,
    /// How often a process has ended: what it had open is none of the next one's.
    processes: u64,
}

#[derive(Clone, Debug, Default)]
struct File512 {
    /// What the system shows.
    shown: Vec<u8>,
    /// What the disk has.
    kept: Vec<u8>,
    /// The sectors in which the two may differ, and which the system means to write.
    dirty: BTreeSet<usize>,
    /// Those of which it believes that they are written.
    believed: BTreeSet<usize>,
}

#[derive(Debug)]
struct OnDisk {
    disk: Disk,
    number: u32,
}

impl Disk {
    fn drive<T>(&self, act: impl FnOnce(&mut Drive) -> T) -> T {
        act(&mut self.drive.lock().unwrap())
    }

    // Nothing is done for a process that is dead.
    fn on<T>(&self, act: impl FnOnce(&mut Drive) -> io::Result<T>) -> io::Result<T> {
        self.drive(|drive| {
            if drive.processes != self.process {
                return Err(io::Error::other("this process is dead"));
            }
            act(drive)
        })
    }

    pub(in super::super) fn fill(&self, full: bool) {
        self.drive(|drive| drive.full = full);
    }

    pub(in super::super) fn fail_syncs(&self, fail: bool) {
        self.drive(|drive| drive.syncs_fail = fail);
    }

    /// The disk as a new process has it; the one before is dead. What it has written stays.
    pub(in super::super) fn next_process(&self) -> Self {
        let process = self.drive(|drive| {
            drive.processes += 1;
            drive.processes
        });
        Self { drive: Arc::clone(&self.drive), process }
    }

    /// The power will go so many operations from now.
    pub(in super::super) fn cut_after(&self, operations: u64) {
        self.drive(|drive| drive.power_left = Some(operations));
    }

    /// The power comes back: of what was not synced, any sector may have been written or not.
    pub(in super::super) fn restart(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        self.drive(|drive| {
            drive.power_left = None;
            drive.processes += 1;
            for file in drive.files.values_mut() {
                let unsure = std::mem::take(&mut file.dirty);
                file.believed.clear();
                file.kept.resize(file.shown.len().max(file.kept.len()), 0);
                for sector in unsure {
                    if random.random_bool(0.5) {
                        file.write_through(sector);
                    }
                }
                file.shown.clone_from(&file.kept);
            }
        });
    }
}

impl Drive {
    fn work(&mut self) -> io::Result<()> {
        match &mut self.power_left {
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn file(&mut self, number: u32) -> &mut File512 {
        self.files.get_mut(&number).unwrap()
    }
}

impl File512 {
    fn write_through(&mut self, sector: usize) {
        let from = sector * SECTOR;
        let to = (from + SECTOR).min(self.shown.len());
        if from < to {
            let length = self.kept.len().max(to);
            self.kept.resize(length, 0);
            self.kept[from..to].copy_from_slice(&self.shown[from..to]);
        }
    }
}

impl Place for Disk {
    fn is_free(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn current(&self) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let number = self.on(|drive| Ok(drive.names[0]))?;
        let on_disk = |number| Box::new(OnDisk { disk: self.clone(), number });
        Ok(number.map(|number| on_disk(number) as Box<dyn StorageBackend>))
    }

    fn fresh(&self) -> io::Result<Box<dyn StorageBackend>> {
        let number = self.on(|drive| {
            drive.work()?;
            drive.next += 1;
            drive.files.insert(drive.next, File512::default());
            drive.names[1] = Some(drive.next);
            Ok(drive.next)
        })?;
        Ok(Box::new(OnDisk { disk: self.clone(), number }))
    }

    fn put_in_place(&self) -> io::Result<()> {
        self.on(|drive| {
            drive.work()?;
            drive.names[0] = drive.names[1].take();
            Ok(())
        })
    }

    fn sealed_anew(&self, _: &Seal) -> io::Result<()> {
        Ok(())
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("simulated")
    }
}

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        self.disk.on(|drive| Ok(drive.file(self.number).shown.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.disk.on(|drive| {
            let shown = &drive.file(self.number).shown;
            let bytes = shown.get(from..from + out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.disk.on(|drive| {
            drive.work()?;
            if drive.full && len > drive.file(self.number).shown.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            drive.file(self.number).shown.resize(len, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.on(|drive| {
            drive.work()?;
            let fails = drive.syncs_fail;
            let file = drive.file(self.number);
            let dirty = std::mem::take(&mut file.dirty);
            if fails {
                // As Linux does: it says so once, and takes them for written.
                file.believed.extend(dirty);
                return Err(io::Error::other("the disk does not answer"));
            }
            for sector in dirty {
                file.write_through(sector);
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        self.disk.on(|drive| {
            drive.work()?;
            if drive.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = drive.file(self.number);
            let to = from + data.len();
            if file.shown.len() < to {
                file.shown.resize(to, 0);
            }
            file.shown[from..to].copy_from_slice(data);
            for sector in from / SECTOR..to.div_ceil(SECTOR) {
                file.dirty.insert(sector);
                file.believed.remove(&sector);
            }
            Ok(())
        })
    }
}

#[derive(Clone, Debug)]
enum Act {
    Write(u64, Vec<u8>),
    Length(u64),
    Read(u64, usize),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..20_000_u64, proptest::collection::vec(1_u8.., 1..9000))
            .prop_map(|(a, b)| Act::Write(a, b)),
        (0..25_000_u64).prop_map(Act::Length),
        (0..20_000_u64, 0..9000_usize).prop_map(|(a, b)| Act::Read(a, b)),
    ]
}

proptest! {
    #[test]
    fn what_is_held_reads_as_if_written_and_is_written_when_it_settles(
        before in proptest::collection::vec(1_u8.., 0..10_000),
        acts in proptest::collection::vec(any_act(), 1..30),
    ) {
        let disk = Disk::default();
        let file = disk.fresh().unwrap();
        file.write(0, &before).unwrap();
        let held = Held::new(file).unwrap();
        let mut expected = before.clone();
        for act in acts {
            match act {
                Act::Write(at, data) => {
                    let from = usize::try_from(at).unwrap();
                    let length = expected.len().max(from + data.len());
                    expected.resize(length, 0);
                    expected[from..from + data.len()].copy_from_slice(&data);
                    held.write(at, &data).unwrap();
                }
                Act::Length(length) => {
                    expected.resize(usize::try_from(length).unwrap(), 0);
                    held.set_len(length).unwrap();
                }
                Act::Read(at, count) => {
                    let from = usize::try_from(at).unwrap();
                    let mut out = vec![7; count];
                    let read = held.read(at, &mut out);
                    match expected.get(from..from + count) {
                        Some(bytes) => prop_assert_eq!(&*out, bytes),
                        None => prop_assert!(read.is_err()),
                    }
                }
            }
            prop_assert_eq!(held.len().unwrap(), expected.len() as u64);
        }
        disk.put_in_place().unwrap();
        let shown = || disk.drive(|drive| drive.files[&drive.names[0].unwrap()].shown.clone());
        prop_assert_eq!(shown(), before);
        held.settle(&disk).unwrap();
        prop_assert_eq!(shown(), expected.clone());
        held.sync_data().unwrap();
        held.give_up();
        prop_assert!(held.write(0, b"x").is_err());
        prop_assert_eq!(shown(), expected);
    }
}

#[test]
fn a_directory_is_its_owners_and_one_process_writes_in_it() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new("directory");
    let directory = Directory::new(&folder.0).unwrap();
    assert!(directory.try_lock().unwrap());
    assert!(!Directory::new(&folder.0).unwrap().try_lock().unwrap(), "another one has it");
    let key = directory.own_key().unwrap();
    assert_eq!(directory.own_key().unwrap(), key, "it is kept");
    let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode(KEY), mode(LOCK)), (0o700, 0o600, 0o600));
    directory.fresh().unwrap();
    directory.put_in_place().unwrap();
    fs::remove_file(folder.0.join(KEY)).unwrap();
    assert!(directory.own_key().is_err(), "a new key would open nothing");
}

/// A folder that is gone with the test.
pub(in super::super) struct Folder(pub(in super::super) PathBuf);

impl Folder {
    pub(in super::super) fn new(name: &str) -> Self {
        let name = format!("qod-ledger-test-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    /// What stands in each file.
    pub(in super::super) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
