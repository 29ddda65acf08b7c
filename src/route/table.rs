//! Tables of routes: ported numbers by the million and prefixes of a whole Internet, from a file.
//!
//! A file is read whole into memory of our own, checked on its way. Mapping it would need `unsafe`,
//! and a mapped file that is cut short under a running gateway ends the process.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::{Ipv4Net, Ipv6Net};
use sha2::{Digest as _, Sha256};

use super::{Lookup, Match, NumberPrefix, Target, addresses::Addresses, numbers::Numbers};
use crate::qod::OperatorId;

mod compiled;
mod csv;
mod gather;
mod places;
mod rows;
mod whole;

use self::whole::Whole;

/// Routes that stand together, and are taken together.
#[derive(Default)]
pub struct Table {
    // Of a file, numbers are in `whole`; of policies, in `numbers`.
    numbers: Numbers,
    whole: Whole,
    ipv4: Addresses<Ipv4Net>,
    ipv6: Addresses<Ipv6Net>,
    operators: Vec<Mention>,
    identity: Option<Identity>,
    content: Digest,
}

/// An operator that a table names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Its name.
    pub operator: OperatorId,
    /// Line and column of where it is named first, if the file has lines.
    pub at: Option<(u64, u64)>,
}

/// Why a file is no sound table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TableFault {
    /// The file.
    pub file: PathBuf,
    /// Line and column, from 1; nothing, if all of it is meant.
    pub at: Option<(u64, u64)>,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// What a compiled table has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Whole numbers.
    pub numbers: usize,
    /// Starts of numbers.
    pub prefixes: usize,
    /// IPv4 networks.
    pub ipv4: usize,
    /// IPv6 networks.
    pub ipv6: usize,
    /// Operators that they lead to.
    pub operators: usize,
}

/// What tells that a file is the same as before: it was neither replaced nor written to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    path: PathBuf,
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The SHA-256 of what is in a file.
type Digest = [u8; 32];

// Parsing more takes a gateway too long; compiled, it is read in a moment.
const CSV_BYTES_MAX: u64 = 64 << 20;
const COMPILED_BYTES_MAX: u64 = 4 << 30;

impl Table {
    /// The table of a file, CSV or compiled; one of those before, if that is of the same file. It
    /// may take seconds: no request may wait for it.
    ///
    /// # Errors
    /// What is wrong with the file; of many faults the first.
    pub fn open(path: &Path, before: &[Arc<Self>]) -> Result<Arc<Self>, Vec<TableFault>> {
        let whole = |message| vec![TableFault { file: path.to_owned(), at: None, message }];
        let failed = |error: io::Error| whole(format!("it cannot be read: {error}"));
        let file = File::open(path).map_err(failed)?;
        let identity = Identity::of(path, &file).map_err(failed)?;
        let same = |table: &&Arc<Self>| table.identity.as_ref() == Some(&identity);
        if let Some(table) = before.iter().find(same) {
            return Ok(Arc::clone(table));
        }
        let bytes = identity.bytes;
        let too_large = |max: u64, advice| {
            (bytes > max).then(|| whole(format!("it is larger than {} MiB{advice}", max >> 20)))
        };
        let mut table = if is_compiled(&file).map_err(failed)? {
            too_large(COMPILED_BYTES_MAX, "").map_or(Ok(()), Err)?;
            compiled::read(BufReader::with_capacity(1 << 16, &file), bytes).map_err(whole)?
        } else {
            too_large(CSV_BYTES_MAX, ": compile it (`qod-gateway compile-routes`)")
                .map_or(Ok(()), Err)?;
            let mut content = Sha256::new();
            io::copy(&mut &file, &mut content).map_err(failed)?;
            let table = gather::rows_of(&[path])?.table().map_err(whole)?;
            Self { content: content.finalize().into(), ..table }
        };
        // CSV has no checksum: it must not have been written to meanwhile.
        if Identity::of(path, &file).map_err(failed)? != identity {
            return Err(whole("it was changed while it was read".to_owned()));
        }
        table.identity = Some(identity);
        Ok(Arc::new(table))
    }

    /// The table that `read` makes of a whole file of up to so many bytes. Its faults are placed by
    /// what they say, not by lines.
    pub(super) fn open_whole<F: fmt::Display>(
        path: &Path,
        bytes_max: u64,
        read: impl FnOnce(&[u8]) -> Result<Self, Vec<F>>,
    ) -> Result<Self, Vec<TableFault>> {
        let fault = |message| TableFault { file: path.to_owned(), at: None, message };
        let failed = |error: io::Error| vec![fault(format!("it cannot be read: {error}"))];
        let file = File::open(path).map_err(failed)?;
        let identity = Identity::of(path, &file).map_err(failed)?;
        if identity.bytes > bytes_max {
            return Err(vec![fault(format!("it is larger than {} MiB", bytes_max >> 20))]);
        }
        let mut bytes = Vec::new();
        (&file).take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
        if Identity::of(path, &file).map_err(failed)? != identity {
            return Err(vec![fault("it was changed while it was read".to_owned())]);
        }
        let mut table = read(&bytes).map_err(|faults| {
            faults.iter().map(|one| fault(one.to_string())).collect::<Vec<_>>()
        })?;
        table.identity = Some(identity);
        table.content = Sha256::digest(&bytes).into();
        Ok(table)
    }

    /// The file that it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.identity.as_ref().map(|identity| identity.path.as_path())
    }

    /// What tells what is in its file: the same for the same bytes, wherever they are.
    pub const fn content(&self) -> &[u8; 32] {
        &self.content
    }

    /// The operators that it leads to.
    pub fn operators(&self) -> &[Mention] {
        &self.operators
    }

    /// A table of these; of two for the same devices the later. Realms are left out: they are few,
    /// and stand beside the tables.
    pub(super) fn of(rules: impl Iterator<Item = (Match, Target)>) -> Self {
        let mut table = Self::default();
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for (matching, target) in rules {
            match matching {
                Match::Number(number) => table.numbers.insert_number(number, target),
                Match::NumberPrefix(prefix) => table.numbers.insert_prefix(prefix, target),
                Match::Ipv4(net) => ipv4.push((net.trunc(), target)),
                Match::Ipv6(net) => ipv6.push((net.trunc(), target)),
                Match::Realm(_) => {}
            }
        }
        Self { ipv4: Addresses::new(ipv4), ipv6: Addresses::new(ipv6), ..table }
    }

    fn insert_prefix(&mut self, digits: u64, operator: u8) -> Option<()> {
        let target = self.target(operator)?;
        self.numbers.insert_prefix(NumberPrefix::of_digits(digits)?, target);
        Some(())
    }

    /// The same with where they lead.
    fn named<N>(&self, places: Vec<(N, u8)>) -> Option<Vec<(N, Target)>> {
        let named = |(net, place)| Some((net, self.target(place)?));
        places.into_iter().map(named).collect()
    }

    fn operator(&self, place: u8) -> Option<&OperatorId> {
        self.operators.get(usize::from(place)).map(|mention| &mention.operator)
    }

    fn target(&self, place: u8) -> Option<Target> {
        self.operator(place).cloned().map(Target::Operator)
    }

    pub(super) const fn ipv4(&self) -> &Addresses<Ipv4Net> {
        &self.ipv4
    }

    pub(super) const fn ipv6(&self) -> &Addresses<Ipv6Net> {
        &self.ipv6
    }

    /// Where exactly this number leads.
    pub(super) fn find_whole(&self, digits: u64) -> Option<Lookup<'_>> {
        let of_file = || Some(Lookup::Operator(self.operator(self.whole.find(digits)?)?));
        self.numbers.find_whole(digits).map(Lookup::from).or_else(of_file)
    }

    /// Where the longest prefix of these digits leads, and the prefix' length.
    pub(super) fn find_prefix(&self, digits: u64) -> Option<(u32, &Target)> {
        self.numbers.find_prefix(digits)
    }

    /// What both have a route for, to different targets.
    pub(super) fn clash(&self, other: &Self) -> Option<Match> {
        let named = |few: &Self, many: &Self| {
            let differs = |(digits, target): &(u64, &Target)| {
                many.find_whole(*digits).is_some_and(|own| own != Lookup::from(*target))
            };
            few.numbers.whole().find(differs).map(|(digits, _)| digits)
        };
        named(self, other)
            .or_else(|| named(other, self))
            .or_else(|| self.whole_clash(other))
            .and_then(rows::number_of)
            .map(Match::Number)
            .or_else(|| self.numbers.clash(&other.numbers).map(Match::NumberPrefix))
            .or_else(|| self.ipv4.clash(&other.ipv4).map(Match::Ipv4))
            .or_else(|| self.ipv6.clash(&other.ipv6).map(Match::Ipv6))
    }

    fn whole_clash(&self, other: &Self) -> Option<u64> {
        // Which of the other's operators each of ours is.
        let theirs: Vec<Option<usize>> = self
            .operators
            .iter()
            .map(|own| other.operators.iter().position(|its| its.operator == own.operator))
            .collect();
        let same = |own: u8, its: u8| {
            theirs.get(usize::from(own)).copied().flatten() == Some(usize::from(its))
        };
        self.whole.clash(&other.whole, same)
    }

    fn whole_len(&self) -> usize {
        self.numbers.whole_len() + self.whole.len()
    }
}

/// Makes one compiled table of CSV files, all of them or none: the target is another at once, or
/// stays as it was. The same rows make the same bytes, in whatever order they come.
///
/// # Errors
/// What is wrong with the files; of many faults the first.
pub fn compile(sources: &[PathBuf], target: &Path) -> Result<Compiled, Vec<TableFault>> {
    let failed = |message| vec![TableFault { file: target.to_owned(), at: None, message }];
    let sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    let rows = gather::rows_of(&sources)?;
    let whole = rows.whole().map_err(failed)?;
    let done = Compiled {
        numbers: whole.len(),
        prefixes: rows.prefixes.len(),
        ipv4: rows.ipv4.len(),
        ipv6: rows.ipv6.len(),
        operators: rows.operators.len(),
    };
    replace(target, |file| compiled::write(&rows, &whole, file))
        .map_err(|error| failed(format!("it cannot be written: {error}")))?;
    Ok(done)
}

/// Writes a file beside the target, and lets it take the target's place when it is on the disk.
fn replace(target: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut beside = target.as_os_str().to_owned();
    beside.push(".new");
    let written = File::create(&beside).and_then(|file| {
        write(&mut BufWriter::with_capacity(1 << 16, &file))?;
        file.sync_all()?;
        fs::rename(&beside, target)
    });
    if let Err(error) = written {
        // It may not be there; the error that counts is the first.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn is_compiled(mut file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start)?;
    io::Seek::rewind(&mut file)?;
    Ok(start == compiled::MAGIC)
}

impl Identity {
    fn of(path: &Path, file: &File) -> io::Result<Self> {
        let of = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            place: (of.dev(), of.ino()),
            bytes: of.len(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        })
    }
}

impl fmt::Display for TableFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, message } = self;
        match at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {message}", file.display()),
            None => write!(f, "{}: {message}", file.display()),
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("numbers", &self.whole_len())
            .field("prefixes", &self.numbers.prefixes_len())
            .field("ipv4", &self.ipv4)
            .field("ipv6", &self.ipv6)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
