//! The archive of a batch's results: a gzipped tar of files, each a JSON list of results.

use crate::BatchResult;
use flate2::read::GzDecoder;
use std::io::{self, Read};

/// The results of all files, in order. At most `limit` bytes are unpacked.
pub(super) fn unpack(archive: &[u8], limit: u64) -> io::Result<Vec<BatchResult>> {
    let mut unpacked = GzDecoder::new(archive).take(limit.saturating_add(1));
    let results = read(&mut unpacked, limit);
    // What was cut there looks damaged.
    if unpacked.limit() == 0 {
        return Err(io::Error::other(format!("the results are larger than {limit} bytes")));
    }
    results.map_err(|e| io::Error::other(format!("the archive of results is damaged: {e}")))
}

fn read(unpacked: &mut impl Read, limit: u64) -> io::Result<Vec<BatchResult>> {
    let (mut results, mut left) = (Vec::new(), limit);
    for entry in tar::Archive::new(&mut *unpacked).entries()? {
        let entry = entry?;
        // Sparse files are no regular ones: a few bytes of them may stand for any number of zeros.
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let size = entry.size();
        let mut text = Vec::new();
        entry.take(left).read_to_end(&mut text)?;
        if (text.len() as u64) < size {
            return Err(io::Error::other("a file is shorter than it says"));
        }
        left -= size;
        results.append(&mut serde_json::from_slice::<Vec<BatchResult>>(&text).map_err(|e| {
            // The error's own text may quote a result.
            let (line, column) = (e.line(), e.column());
            io::Error::other(format!("a file is no list of results (line {line}, column {column})"))
        })?);
    }
    // To the end, so that the checksum is seen.
    io::copy(unpacked, &mut io::sink())?;
    Ok(results)
}
