//! Further gateways with the operators and policies of a world, on addresses of their own.

use std::fs;

use super::{World, unused_loopback};

impl World {
    /// A gateway that is not started yet. It has the same policies, with listeners of its own; `edit` changes
    /// its `gateway.yaml`.
    pub(crate) fn replica(&self, edit: impl FnOnce(String) -> String) -> Self {
        let (address, folder) = unused_loopback();
        for entry in fs::read_dir(&self.folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() && entry.file_name() != "log" {
                fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
        let path = folder.join("gateway.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let own = text.replace(&format!("{}:", self.address), &format!("{address}:"));
        fs::write(&path, edit(own)).unwrap();
        let keys = self.keys.clone();
        Self { address, folder, keys, simulated: Vec::new(), children: Vec::new() }
    }
}
