#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| greylag_fuzz::run(greylag_fuzz::Target::Rar, data));
