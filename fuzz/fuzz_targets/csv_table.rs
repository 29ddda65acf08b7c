#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qod_gateway::fuzzing::run("csv_table", data));
