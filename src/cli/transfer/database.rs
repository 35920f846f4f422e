//! `db.json`: an object with an array of records for each resource, as json-server has it. It is read record by record.

use std::fmt;
use std::io::BufRead;

use serde::de::{
    Deserialize as _, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::value::RawValue;

use super::format::{FilePlace, Placed, ReadFault, RowSink, one_line};

/// Reads the arrays of an object, or only that named `only`; or an array that is all of the file, if `only` says what it is.
pub(super) fn read(
    input: &mut dyn BufRead,
    record_bytes: usize,
    only: Option<&str>,
    sink: &mut impl RowSink,
) -> Result<(), ReadFault> {
    let place = &FilePlace::new(record_bytes);
    let inner = input;
    let mut json = serde_json::Deserializer::from_reader(Placed { inner, place });
    let mut fault = None;
    let whole = WholeFile {
        only,
        rows: ArrayRows {
            place,
            sink,
            fault: &mut fault,
        },
    };
    let read = json.deserialize_any(whole).and_then(|()| json.end());
    match (fault, read) {
        (Some(fault), _) => Err(fault),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) if error.is_io() => Err(place.fault(error.into(), None)),
        (None, Err(error)) => Err(ReadFault::Syntax(format!("is not a db.json: {error}"))),
    }
}

/// The records of one array.
struct ArrayRows<'a, S> {
    place: &'a FilePlace,
    sink: &'a mut S,
    /// The reason why the sink takes no more.
    fault: &'a mut Option<ReadFault>,
}

impl<S: RowSink> ArrayRows<'_, S> {
    /// Gives the records of an array to the sink. `name` is that of the array in an object.
    fn read<'de, A: SeqAccess<'de>>(
        self,
        mut array: A,
        name: Option<&str>,
        wanted: bool,
    ) -> Result<(), A::Error> {
        let mut first = true;
        while let Some((line, record)) = array.next_element_seed(RawRow(self.place))? {
            self.place.next_record();
            if !wanted {
                continue;
            }
            let begun = match name.filter(|_| first) {
                Some(name) => self.sink.begin(name, record.get()),
                None => Ok(()),
            };
            first = false;
            let row = Ok(one_line(record.get()));
            if let Err(fault) = begun.and_then(|()| self.sink.row(line, row)) {
                *self.fault = Some(fault);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// A record as it is written, and the line that it begins in.
struct RawRow<'a>(&'a FilePlace);

impl<'de> DeserializeSeed<'de> for RawRow<'_> {
    type Value = (u64, Box<RawValue>);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        let line = self.0.line();
        Ok((line, Box::<RawValue>::deserialize(json)?))
    }
}

struct WholeFile<'a, S> {
    only: Option<&'a str>,
    rows: ArrayRows<'a, S>,
}

impl<'de, S: RowSink> Visitor<'de> for WholeFile<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an array of records for each resource")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let ArrayRows { place, sink, fault } = self.rows;
        while let Some(name) = members.next_key::<String>()? {
            members.next_value_seed(DatabaseMember {
                wanted: self.only.is_none_or(|only| only == name),
                name,
                rows: ArrayRows {
                    place,
                    sink: &mut *sink,
                    fault: &mut *fault,
                },
            })?;
            place.next_record();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<(), A::Error> {
        if self.only.is_none() {
            let hint =
                "it is an array of records: name their resource, perennial import RESOURCE FILE";
            return Err(A::Error::custom(hint));
        }
        self.rows.read(array, None, true)
    }
}

/// A member of the object.
struct DatabaseMember<'a, S> {
    name: String,
    wanted: bool,
    rows: ArrayRows<'a, S>,
}

impl<S: RowSink> DatabaseMember<'_, S> {
    fn no_array(self) {
        if self.wanted {
            self.rows.sink.no_array(&self.name);
        }
    }
}

impl<'de, S: RowSink> DeserializeSeed<'de> for DatabaseMember<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, S: RowSink> Visitor<'de> for DatabaseMember<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<(), A::Error> {
        self.rows.read(array, Some(&self.name), self.wanted)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.no_array();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.no_array();
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.no_array();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.no_array();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.no_array();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.no_array();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.no_array();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Read as _};

    use super::super::format::KeptRows;
    use super::*;

    fn kept(text: &str, only: Option<&str>) -> (KeptRows, Option<String>) {
        let mut kept = KeptRows::default();
        let read = read(&mut text.as_bytes(), 100, only, &mut kept);
        (kept, read.err().map(|error| error.to_string()))
    }

    const TEXT: &str = "{\"books\": [\n {\"id\": 1,\n  \"t\": \"\\n\"}, 5\n], \"empty\": [], \"profile\": {\"a\": [1]},\n\"other\": [{\"id\": \"x\"}, {}], \"n\": null, \"movies\": [{}]}";

    #[test]
    fn the_records_of_arrays_are_rows_with_their_lines() {
        let (kept, error) = kept(TEXT, None);
        assert_eq!(error, None);
        let row = |line, text: &str| (line, Ok(text.to_owned()));
        let rows = [
            row(2, "{\"id\": 1,   \"t\": \"\\n\"}"),
            row(3, "5"),
            row(5, "{\"id\": \"x\"}"),
            row(5, "{}"),
            row(5, "{}"),
        ];
        assert_eq!(kept.rows, rows);
        let names = [
            "books {\"id\": 1,\n  \"t\": \"\\n\"}",
            "no array profile",
            "other {\"id\": \"x\"}",
            "no array n",
            "movies {}",
        ];
        assert_eq!(kept.names, names);
    }

    #[test]
    fn one_array_can_be_read_alone_and_an_array_can_be_all_of_the_file() {
        let (one, error) = kept(TEXT, Some("movies"));
        assert_eq!((one.rows.len(), one.names.len(), error), (1, 1, None));
        let (all, error) = kept("[{}, {}]", Some("books"));
        assert_eq!((all.rows.len(), error), (2, None));
        let (_, error) = kept("[{}]", None);
        assert!(error.unwrap().contains("name their resource"));
    }

    #[test]
    fn what_is_no_database_is_refused_and_what_came_before_is_there() {
        for text in [
            "",
            "5",
            "{\"books\": [{}, {\"a\"",
            "{\"books\": [{}, {}]} x",
        ] {
            let (_, error) = kept(text, None);
            assert!(error.unwrap().starts_with("is not a db.json: "), "{text}");
        }
        let (cut, _) = kept("{\"books\": [{}, {\"a\"", None);
        assert_eq!(cut.rows.len(), 1);
    }

    #[test]
    fn a_part_without_an_end_ends_the_reading() {
        for (text, endless) in [
            ("{\"books\": [{}, {\"a\": \"", b'x'),
            ("{\"books\": [{}, {\"a\": 1", b'1'),
            ("{\"books\": [{}, ", b' '),
            ("{\"books\": [{}], \"", b'x'),
            ("", b' '),
            ("", b'\n'),
        ] {
            let mut sink = KeptRows::default();
            let mut input = BufReader::new(text.as_bytes().chain(io::repeat(endless)));
            let error = read(&mut input, 100, None, &mut sink).unwrap_err();
            let told = error.to_string();
            assert!(
                told.starts_with("has a record near line "),
                "{text}: {told}"
            );
            assert_eq!(sink.rows.len(), usize::from(!text.is_empty()));
        }
        let mut zeros = BufReader::new(io::repeat(0));
        let error = read(&mut zeros, 100, None, &mut KeptRows::default()).unwrap_err();
        assert!(error.to_string().starts_with("is not a db.json: "));
    }
}
