//! Fields of one CSV line.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// A reader of CSV lines that reuses its buffers.
///
/// Each line is parsed alone, so an open quote cannot swallow the rest of the input.
pub struct CsvLine {
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl CsvLine {
    pub fn new(delimiter: u8) -> Self {
        Self {
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Splits a line into its fields, without quotes and surrounding spaces.
    pub fn fields(&mut self, line: &str) -> Result<Vec<&str>, &'static str> {
        // A field is no longer than the line, and a line of n bytes has at most n + 1 fields.
        self.text.resize(line.len() + 1, 0);
        self.ends.resize(line.len() + 2, 0);
        self.reader.reset();
        let (mut read, mut written, mut fields) = (0, 0, 0);
        // The last line may lack its line break, and a break ends the record.
        let line = [line.as_bytes(), b"\n"].concat();
        loop {
            let (result, nin, nout, nend) = self.reader.read_record(
                &line[read..],
                &mut self.text[written..],
                &mut self.ends[fields..],
            );
            read += nin;
            written += nout;
            fields += nend;
            match result {
                ReadRecordResult::Record => break,
                ReadRecordResult::InputEmpty if read >= line.len() => {
                    return Err("quote without an end");
                }
                ReadRecordResult::InputEmpty => {}
                _ => return Err("invalid CSV"),
            }
        }
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends[..fields])
            .map(|(start, &end)| str::from_utf8(self.text[start..end].trim_ascii()))
            .collect::<Result<_, _>>()
            .map_err(|_| "invalid UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_at_the_delimiter_outside_quotes() {
        let mut csv = CsvLine::new(b';');
        for (line, fields) in [
            ("a", &["a"][..]),
            ("a; b ;", &["a", "b", ""]),
            ("\"a;b\";c", &["a;b", "c"]),
            ("\"say \"\"hi\"\"\";,", &["say \"hi\"", ","]),
            (";", &["", ""]),
        ] {
            assert_eq!(csv.fields(line).as_deref(), Ok(fields), "{line}");
        }
        assert_eq!(csv.fields("\"a;b"), Err("quote without an end"));
        assert_eq!(
            csv.fields("c"),
            Ok(vec!["c"]),
            "the quote ends with its line"
        );
    }
}
