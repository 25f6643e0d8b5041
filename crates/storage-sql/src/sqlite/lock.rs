//! One process a file. The lock is the operating system's, on `PATH.lock`, so that it ends with the process however
//! that ends; the number in it is for the message alone.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use crate::OpenError;

/// Held for as long as the engine lives.
pub(crate) struct Lock {
    _file: File,
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

impl Lock {
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let lock = beside(path);
        let cannot = |error: io::Error| OpenError::File { path: lock.clone(), error };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(cannot)?;
                let holder = holder.trim().parse().ok();
                return Err(OpenError::InUse { path: path.to_owned(), holder });
            }
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(cannot)?;
        writeln!(file, "{}", std::process::id()).map_err(cannot)?;
        Ok(Self { _file: file })
    }
}
