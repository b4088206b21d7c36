//! The examples of martlet: see the folders beside this file. And the book in `docs/`: its Rust blocks are the
//! documentation tests of this package.

/// The README, and every page with a Rust block.
#[cfg(doctest)]
mod book {
    macro_rules! pages {
        ($($name:ident $path:literal)+) => {
            $(#[doc = include_str!($path)] mod $name {})+
        };
    }

    pages! {
        readme "../README.md"
        errors "../docs/errors.md"
        layers "../docs/layers.md"
        running_in_production "../docs/running-in-production.md"
        state "../docs/state.md"
        testing "../docs/testing.md"
        writing_a_connector "../docs/writing-a-connector.md"
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn every_page_with_a_rust_block_is_tested() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let mut names: Vec<_> = fs::read_dir(&docs)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let pages = names.iter().filter(|name| name.ends_with(".md"));
        let with_rust = pages.filter(|name| fs::read_to_string(docs.join(name)).unwrap().contains("```rust"));
        let here = include_str!("lib.rs");
        for page in with_rust {
            assert!(
                here.contains(&format!("\"../docs/{page}\"")),
                "docs/{page} is missing in examples/lib.rs"
            );
        }
    }
}
