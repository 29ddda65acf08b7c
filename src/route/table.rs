//! Route tables loaded from files: millions of ported numbers and Internet-size sets of networks.
//!
//! A file is read completely into memory and validated while it is read. Memory-mapping it would
//! need `unsafe`, and truncation of a mapped file would kill the running process.

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
use crate::{qod::OperatorId, reloadable::open_regular};

mod compiled;
mod csv;
mod builder;
mod locations;
mod rows;
mod exact_numbers;

use self::exact_numbers::ExactNumbers;

/// A set of routes that is loaded as a unit.
#[derive(Default)]
pub struct Table {
    // Exact numbers are in `exact_numbers` if they are from a file, and in `numbers` if from
    // policies.
    numbers: Numbers,
    exact_numbers: ExactNumbers,
    ipv4: Addresses<Ipv4Net>,
    ipv6: Addresses<Ipv6Net>,
    operators: Vec<NamedOperator>,
    identity: Option<FileIdentity>,
    content: ContentDigest,
}

/// The position of a cell in a table file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellPosition {
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
}

impl CellPosition {
    fn start_of(line: u64) -> Self {
        Self { line, column: 1 }
    }
}

/// An operator named in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedOperator {
    /// The name of the operator.
    pub operator: OperatorId,
    /// The position of its first occurrence; `None` if the file is compiled.
    pub position: Option<CellPosition>,
}

/// An error in a table file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct TableError {
    /// The file.
    pub file: PathBuf,
    /// The position; `None` if the error concerns the whole file.
    pub position: Option<CellPosition>,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// The number of entries in a compiled table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileSummary {
    /// Exact numbers.
    pub numbers: usize,
    /// Number prefixes.
    pub prefixes: usize,
    /// IPv4 networks.
    pub ipv4: usize,
    /// IPv6 networks.
    pub ipv6: usize,
    /// Operators named as targets.
    pub operators: usize,
}

/// Identifies a version of a file: it changes if the file is replaced or written to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileIdentity {
    path: PathBuf,
    inode: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The SHA-256 of the content of a file.
type ContentDigest = [u8; 32];

// Parsing a larger CSV file takes too long; a compiled file is read much faster.
const CSV_BYTES_MAX: u64 = 64 << 20;
const COMPILED_BYTES_MAX: u64 = 4 << 30;

impl Table {
    /// Opens the table of a file, CSV or compiled. A table in `before` is reused if its file is
    /// unchanged. It may take seconds, so it must not run in the request path.
    ///
    /// # Errors
    /// The errors in the file; if there are many, only the first ones.
    pub fn open(path: &Path, before: &[Arc<Self>]) -> Result<Arc<Self>, Vec<TableError>> {
        let file_error =
            |message| vec![TableError { file: path.to_owned(), position: None, message }];
        let failed = |error: io::Error| file_error(format!("the file cannot be read: {error}"));
        let file = open_regular(path).map_err(failed)?;
        let identity = FileIdentity::from_file(path, &file).map_err(failed)?;
        let same = |table: &&Arc<Self>| table.identity.as_ref() == Some(&identity);
        if let Some(table) = before.iter().find(same) {
            return Ok(Arc::clone(table));
        }
        let bytes = identity.bytes;
        let too_large = |max: u64, advice| {
            (bytes > max)
                .then(|| file_error(format!("the file is larger than {} MiB{advice}", max >> 20)))
        };
        let mut table = if is_compiled(&file).map_err(failed)? {
            too_large(COMPILED_BYTES_MAX, "").map_or(Ok(()), Err)?;
            compiled::read(BufReader::with_capacity(1 << 16, &file), bytes).map_err(file_error)?
        } else {
            too_large(CSV_BYTES_MAX, ": compile it (`qod-gateway compile-routes`)")
                .map_or(Ok(()), Err)?;
            let mut content = Sha256::new();
            io::copy(&mut &file, &mut content).map_err(failed)?;
            let table = builder::read_rows(&[path])?.table().map_err(file_error)?;
            Self { content: content.finalize().into(), ..table }
        };
        // CSV has no checksum, so the file must not have changed in the meantime.
        if FileIdentity::from_file(path, &file).map_err(failed)? != identity {
            return Err(file_error("the file changed while it was read".to_owned()));
        }
        table.identity = Some(identity);
        Ok(Arc::new(table))
    }

    /// Opens a file of at most `bytes_max` bytes and parses it with `read`. The errors of `read`
    /// contain their own position.
    pub(super) fn open_with<F: fmt::Display>(
        path: &Path,
        bytes_max: u64,
        read: impl FnOnce(&[u8]) -> Result<Self, Vec<F>>,
    ) -> Result<Self, Vec<TableError>> {
        let file_error = |message| TableError { file: path.to_owned(), position: None, message };
        let failed =
            |error: io::Error| vec![file_error(format!("the file cannot be read: {error}"))];
        let file = open_regular(path).map_err(failed)?;
        let identity = FileIdentity::from_file(path, &file).map_err(failed)?;
        if identity.bytes > bytes_max {
            return Err(vec![file_error(format!(
                "the file is larger than {} MiB",
                bytes_max >> 20
            ))]);
        }
        let mut bytes = Vec::new();
        (&file).take(bytes_max).read_to_end(&mut bytes).map_err(failed)?;
        if FileIdentity::from_file(path, &file).map_err(failed)? != identity {
            return Err(vec![file_error("the file changed while it was read".to_owned())]);
        }
        let mut table = read(&bytes).map_err(|errors| {
            errors.iter().map(|error| file_error(error.to_string())).collect::<Vec<_>>()
        })?;
        table.identity = Some(identity);
        table.content = Sha256::digest(&bytes).into();
        Ok(table)
    }

    /// The path of the file that the table was read from.
    pub fn file(&self) -> Option<&Path> {
        self.identity.as_ref().map(|identity| identity.path.as_path())
    }

    /// The SHA-256 of the content of its file.
    pub const fn content(&self) -> &[u8; 32] {
        &self.content
    }

    /// The operators that it names.
    pub fn operators(&self) -> &[NamedOperator] {
        &self.operators
    }

    /// Creates a table from routes. Of two for the same devices the later applies. Realm routes are
    /// skipped: they are few, and stored in [`Realms`](super::realms::Realms).
    pub(super) fn from_routes(rules: impl Iterator<Item = (Match, Target)>) -> Self {
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
        self.numbers.insert_prefix(NumberPrefix::from_digits(digits)?, target);
        Some(())
    }

    /// Replaces operator indexes by targets; `None` if an index is invalid.
    fn with_targets<N>(&self, entries: Vec<(N, u8)>) -> Option<Vec<(N, Target)>> {
        let with_target = |(net, index)| Some((net, self.target(index)?));
        entries.into_iter().map(with_target).collect()
    }

    fn operator(&self, index: u8) -> Option<&OperatorId> {
        self.operators.get(usize::from(index)).map(|mention| &mention.operator)
    }

    fn target(&self, index: u8) -> Option<Target> {
        self.operator(index).cloned().map(Target::Operator)
    }

    pub(super) const fn ipv4(&self) -> &Addresses<Ipv4Net> {
        &self.ipv4
    }

    pub(super) const fn ipv6(&self) -> &Addresses<Ipv6Net> {
        &self.ipv6
    }

    /// The target of exactly this number.
    pub(super) fn find_number(&self, digits: u64) -> Option<Lookup<'_>> {
        let from_file = || Some(Lookup::Operator(self.operator(self.exact_numbers.find(digits)?)?));
        self.numbers.find_exact(digits).map(Lookup::from).or_else(from_file)
    }

    /// The numbers with a route of their own.
    pub(super) fn all_numbers(&self) -> impl Iterator<Item = u64> {
        self.numbers.exact().map(|(digits, _)| digits).chain(self.exact_numbers.iter())
    }

    /// The target of the longest prefix of these digits, and the length of the prefix.
    pub(super) fn find_prefix(&self, digits: u64) -> Option<(u32, &Target)> {
        self.numbers.find_prefix(digits)
    }

    /// A match that both tables have, with different targets.
    pub(super) fn find_conflict(&self, other: &Self) -> Option<Match> {
        let number = |few: &Self, many: &Self| {
            let differs = |(digits, target): &(u64, &Target)| {
                many.find_number(*digits).is_some_and(|own| own != Lookup::from(*target))
            };
            few.numbers.exact().find(differs).map(|(digits, _)| digits)
        };
        number(self, other)
            .or_else(|| number(other, self))
            .or_else(|| self.find_number_conflict(other))
            .and_then(rows::phone_number)
            .map(Match::Number)
            .or_else(|| self.numbers.find_conflict(&other.numbers).map(Match::NumberPrefix))
            .or_else(|| self.ipv4.find_conflict(&other.ipv4).map(Match::Ipv4))
            .or_else(|| self.ipv6.find_conflict(&other.ipv6).map(Match::Ipv6))
    }

    fn find_number_conflict(&self, other: &Self) -> Option<u64> {
        // For each operator of this table, its index in the other one.
        let indexes: Vec<Option<usize>> = self
            .operators
            .iter()
            .map(|own| other.operators.iter().position(|other| other.operator == own.operator))
            .collect();
        let same = |own: u8, other: u8| {
            indexes.get(usize::from(own)).copied().flatten() == Some(usize::from(other))
        };
        self.exact_numbers.find_conflict(&other.exact_numbers, same)
    }

    /// Has it routes by number or by number prefix?
    pub(super) fn has_numbers(&self) -> bool {
        self.number_count() + self.numbers.prefixes_len() > 0
    }

    /// The number of routes.
    pub(super) fn entry_count(&self) -> usize {
        self.number_count() + self.numbers.prefixes_len() + self.ipv4.len() + self.ipv6.len()
    }

    fn number_count(&self) -> usize {
        self.numbers.exact_len() + self.exact_numbers.len()
    }
}

/// Compiles CSV files into one table. The target file is replaced atomically, or left unchanged on
/// an error. The output depends only on the set of rows, not on their order.
///
/// # Errors
/// The errors in the files; if there are many, only the first ones.
pub fn compile(sources: &[PathBuf], target: &Path) -> Result<CompileSummary, Vec<TableError>> {
    let failed = |message| vec![TableError { file: target.to_owned(), position: None, message }];
    check_target(target, sources).map_err(failed)?;
    let sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    let rows = builder::read_rows(&sources)?;
    let exact_numbers = rows.exact_numbers().map_err(failed)?;
    let summary = CompileSummary {
        numbers: exact_numbers.len(),
        prefixes: rows.prefixes.len(),
        ipv4: rows.ipv4.len(),
        ipv6: rows.ipv6.len(),
        operators: rows.operators.len(),
    };
    replace(target, |file| compiled::write(&rows, &exact_numbers, file))
        .map_err(|error| failed(format!("the file cannot be written: {error}")))?;
    Ok(summary)
}

/// Returns an error if writing the target would destroy a source or something that is not a file.
fn check_target(target: &Path, sources: &[PathBuf]) -> Result<(), String> {
    let metadata = match fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(|error| format!("the file cannot be written: {error}"))?,
    };
    if !metadata.is_file() {
        return Err("the output is not a regular file".to_owned());
    }
    let is_target = |source: &&PathBuf| {
        fs::metadata(source)
            .is_ok_and(|source| (source.dev(), source.ino()) == (metadata.dev(), metadata.ino()))
    };
    sources.iter().find(is_target).map_or(Ok(()), |source| {
        Err(format!("the output is the input `{}`; name another file", source.display()))
    })
}

/// Replaces the target atomically: writes a temporary file next to it, syncs it and renames it.
fn replace(target: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut temporary = target.as_os_str().to_owned();
    temporary.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let written = File::create_new(&temporary).and_then(|file| {
        write(&mut BufWriter::with_capacity(1 << 16, &file))?;
        file.sync_all()?;
        fs::rename(&temporary, target)
    });
    if let Err(error) = written {
        // The file may not exist. The first error is the one to report.
        let _ = fs::remove_file(&temporary);
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

impl FileIdentity {
    fn from_file(path: &Path, file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            inode: (metadata.dev(), metadata.ino()),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position: at, message } = self;
        match at {
            Some(CellPosition { line, column }) => {
                write!(f, "{}:{line}:{column}: {message}", file.display())
            }
            None => write!(f, "{}: {message}", file.display()),
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("numbers", &self.number_count())
            .field("prefixes", &self.numbers.prefixes_len())
            .field("ipv4", &self.ipv4)
            .field("ipv6", &self.ipv6)
            .finish_non_exhaustive()
    }
}

#[cfg(any(fuzzing, test))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
