//! Opens and reads regular files only. A named pipe, a socket, a device or a folder in the place of a
//! file is an error and never blocks the caller.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Opens a regular file for reading. Symbolic links are followed.
///
/// # Errors
/// If the file cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK, opening a named pipe waits for a writer. The type is checked after opening,
    // so that the file cannot be replaced in between.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        // The path is a socket, or a device without a driver.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(not_regular()),
        opened => opened?,
    };
    let file_type = file.metadata()?.file_type();
    if file_type.is_file() {
        Ok(file)
    } else if file_type.is_dir() {
        Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder, not a file"))
    } else {
        Err(not_regular())
    }
}

/// Reads a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// If the file cannot be read, is not a regular file, or is larger.
pub fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_regular(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= bytes_max) {
        return Ok(bytes);
    }
    let size = match bytes_max {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes >> 10),
    };
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {size}")))
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, process::Command};

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_blocks() {
        let folder = std::env::temp_dir().join(format!("qod-regular-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let at = |name: &str| folder.join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        std::os::unix::fs::symlink("pipe", at("link-to-pipe")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();

        for name in ["file", "link"] {
            assert_eq!(read_regular(&at(name), 4).unwrap(), b"text", "{name}");
        }
        let error = |path: &Path| read_regular(path, 4).unwrap_err().to_string();
        for name in ["pipe", "link-to-pipe", "socket"] {
            assert_eq!(error(&at(name)), "it is not a regular file", "{name}");
        }
        assert_eq!(error(Path::new("/dev/zero")), "it is not a regular file");
        assert_eq!(error(&at("folder")), "it is a folder, not a file");
        assert!(error(&at("none")).contains("No such file"));
        let limited = |bytes| read_regular(&at("file"), bytes).unwrap_err().to_string();
        assert_eq!(limited(3), "it is larger than 0 KiB");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
