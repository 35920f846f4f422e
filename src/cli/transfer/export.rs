//! `perennial export`: the records of a running daemon as a file.
//!
//! Each record is written as it was at one moment; other clients may change the resource meanwhile. A record that is there all
//! the time is written exactly once.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::format::Format;
use super::meter::Meter;
use super::table::TableWriter;
use super::{Named, STREAM, is_device, is_stream, records_path};
use crate::admin::Catalogue;
use crate::cli::admin_client::{AdminClient, ClientError};
use crate::cli::{Exit, complain, say};
use crate::num::as_u64;

/// Another name of stdout.
const STDOUT: &str = "/dev/stdout";
/// The most names in the header of a table.
const NAMES_MAX: usize = 4096;

/// The command line of `perennial export`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ExportArgs {
    /// The resource, and the file or - for stdout, which is the default; a db.json without a resource has all of them
    #[arg(value_name = "[RESOURCE] [FILE]", num_args = 0..=2)]
    words: Vec<String>,
    /// The format [default: by the file's ending: .ndjson, .jsonl, .csv, .json; else ndjson]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Replace the file, if it exists
    #[arg(long)]
    overwrite: bool,
}

/// The reason why an export failed.
#[derive(Debug, thiserror::Error)]
enum ExportFault {
    #[error("{0}")]
    Usage(&'static str),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the records broke off; nothing after that was written")]
    Broken(#[source] io::Error),
    #[error("the output can't be written")]
    Output(#[source] io::Error),
    #[error("{0} exists; name a new file, or write --overwrite to replace it")]
    Exists(String),
    #[error("{0} can't be written")]
    File(String, #[source] io::Error),
    #[error("the records have more than {NAMES_MAX} different members: export them as ndjson")]
    Names,
    #[error("a record got another member while the table was written: export it again")]
    Changed,
}

impl ExportFault {
    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Client(error) if error.is_passing() => Exit::Unavailable,
            Self::Broken(_) => Exit::Unavailable,
            Self::Names => Exit::Data,
            Self::Client(_)
            | Self::Output(_)
            | Self::Exists(_)
            | Self::File(..)
            | Self::Changed => Exit::Failed,
        }
    }
}

fn csv_fault(error: csv::Error) -> ExportFault {
    ExportFault::Output(error.into())
}

impl ExportArgs {
    pub(in crate::cli) fn run(&self, admin: &str) -> Exit {
        match self.export(admin) {
            Ok(()) => Exit::Ok,
            Err(ExportFault::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Exit::Failed
            }
            Err(fault) => complain(&fault, fault.exit()),
        }
    }

    fn export(&self, admin: &str) -> Result<(), ExportFault> {
        let Named { resource, file } = Named::of(&self.words, STDOUT);
        let file = file.filter(|file| !is_stream(file));
        let format = self.format.or_else(|| Format::of(file.as_deref()?));
        let format = format.unwrap_or(Format::Ndjson);
        if resource.is_none() && format != Format::Database {
            let usage = "name the resource, or say --format db.json for all of them";
            return Err(ExportFault::Usage(usage));
        }
        let unwritten = |error| {
            let name = file.as_deref().unwrap_or(Path::new(STREAM));
            ExportFault::File(name.display().to_string(), error)
        };
        let target = match &file {
            None => ExportTarget::Stream(Box::new(io::stdout().lock())),
            Some(file) if is_device(file) => {
                let device = File::options().write(true).open(file).map_err(unwritten)?;
                ExportTarget::Stream(Box::new(device))
            }
            Some(file) if file.exists() && !self.overwrite => {
                return Err(ExportFault::Exists(file.display().to_string()));
            }
            Some(file) => ExportTarget::File(file),
        };
        let client = AdminClient::new(admin);
        let catalogue: Catalogue = client.get("/records")?.json()?;
        let export = Export {
            client: &client,
            catalogue: &catalogue,
            resource: resource.as_deref(),
            format,
            records: Cell::new(0),
        };
        let bytes = match target {
            ExportTarget::Stream(out) => export.stream(out)?,
            ExportTarget::File(file) => export.file(file, unwritten)?,
        };
        export.told(file.as_deref().unwrap_or(Path::new(STREAM)), bytes);
        Ok(())
    }
}

/// The place that records are written to.
enum ExportTarget<'a> {
    /// Stdout, a pipe or a device.
    Stream(Box<dyn Write>),
    /// A file on the disk, which appears under its name when it is whole.
    File(&'a Path),
}

/// The name of a file that is not whole.
fn part(file: &Path) -> PathBuf {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    part.into()
}

/// Counts the bytes that are written.
struct CountedWrite<W> {
    inner: W,
    bytes: u64,
}

impl<W> CountedWrite<W> {
    fn new(inner: W) -> Self {
        Self { inner, bytes: 0 }
    }
}

impl<W: Write> Write for CountedWrite<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += as_u64(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Export<'a> {
    client: &'a AdminClient,
    catalogue: &'a Catalogue,
    resource: Option<&'a str>,
    format: Format,
    /// The records that were read last of each resource.
    records: Cell<u64>,
}

impl Export<'_> {
    /// Says what was written.
    fn told(&self, file: &Path, bytes: u64) {
        say(format_args!(
            "{}: {} records, {bytes} bytes",
            file.display(),
            self.records.get()
        ));
    }

    /// Writes into a stream. Returns the number of bytes.
    fn stream(&self, out: Box<dyn Write>) -> Result<u64, ExportFault> {
        let mut out = CountedWrite::new(BufWriter::new(out));
        self.write(&mut out)?;
        out.flush().map_err(ExportFault::Output)?;
        Ok(out.bytes)
    }

    /// Writes a file. Returns the number of bytes.
    fn file(
        &self,
        file: &Path,
        unwritten: impl Fn(io::Error) -> ExportFault,
    ) -> Result<u64, ExportFault> {
        let part = part(file);
        let out = File::create(&part).map_err(&unwritten)?;
        let mut out = CountedWrite::new(BufWriter::new(out));
        let written = self.write(&mut out).and_then(|()| {
            let CountedWrite { inner, bytes } = out;
            let out = inner
                .into_inner()
                .map_err(|error| unwritten(error.into_error()))?;
            out.sync_all().map_err(&unwritten)?;
            fs::rename(&part, file).map_err(&unwritten)?;
            Ok(bytes)
        });
        if written.is_err() {
            drop(fs::remove_file(&part));
        }
        written
    }

    fn write(&self, out: &mut dyn Write) -> Result<(), ExportFault> {
        match (self.format, self.resource) {
            (Format::Csv, Some(resource)) => self.table(resource, out),
            (Format::Database, resource) => self.database(resource, out),
            (Format::Ndjson, Some(resource)) => self.records(resource, |line| {
                out.write_all(line)
                    .and_then(|()| out.write_all(b"\n"))
                    .map_err(ExportFault::Output)
            }),
            (Format::Csv | Format::Ndjson, None) => Ok(()),
        }
    }

    /// Shows each record of a resource to `visit`, as a line of JSON.
    fn records(
        &self,
        resource: &str,
        mut visit: impl FnMut(&[u8]) -> Result<(), ExportFault>,
    ) -> Result<(), ExportFault> {
        let answer = self.client.get(&records_path(resource))?;
        let mut meter = Meter::new(resource, answer.total);
        let mut lines = BufReader::with_capacity(256 * 1024, answer.reader());
        let (mut line, mut records) = (Vec::new(), 0);
        loop {
            line.clear();
            let read = lines.read_until(b'\n', &mut line);
            if read.map_err(ExportFault::Broken)? == 0 {
                meter.end();
                self.records.set(self.records.get() + records);
                return Ok(());
            }
            visit(line.trim_ascii_end())?;
            records += 1;
            if records % 1024 == 0 {
                meter.show(records, records);
            }
        }
    }

    fn database(&self, only: Option<&str>, out: &mut dyn Write) -> Result<(), ExportFault> {
        let all = self.catalogue.resources.keys().map(String::as_str);
        let names: Vec<_> = only.map_or_else(|| all.collect(), |only| vec![only]);
        let mut write = |text: &[u8]| out.write_all(text).map_err(ExportFault::Output);
        write(b"{")?;
        for (n, name) in names.iter().enumerate() {
            write(if n > 0 { b",\n" } else { b"\n" })?;
            write(Value::from(*name).to_string().as_bytes())?;
            write(b": [")?;
            let mut first = true;
            self.records(name, |line| {
                write(if first { b"\n" } else { b",\n" })?;
                first = false;
                write(line)
            })?;
            write(if first { b"]" } else { b"\n]" })?;
        }
        write(b"\n}\n")
    }

    /// Reads the records twice: for the names of the columns, and for the rows.
    fn table(&self, resource: &str, out: &mut dyn Write) -> Result<(), ExportFault> {
        let fields = self.catalogue.resources.get(resource);
        let fields = fields.and_then(|fields| fields.as_deref());
        let mut names = vec!["id".to_owned()];
        let object = |line: &[u8]| {
            let record: Result<Map<String, Value>, _> = serde_json::from_slice(line);
            record.map_err(|error| ExportFault::Broken(error.into()))
        };
        self.records(resource, |line| {
            for (name, _) in object(line)? {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            if names.len() > NAMES_MAX {
                return Err(ExportFault::Names);
            }
            Ok(())
        })?;
        // They are read once more.
        self.records.set(0);
        for (name, _) in fields.unwrap_or_default() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let mut table = TableWriter::new(names, fields, out).map_err(csv_fault)?;
        self.records(resource, |line| {
            if table.write(&object(line)?).map_err(csv_fault)? {
                Ok(())
            } else {
                Err(ExportFault::Changed)
            }
        })?;
        table.end().map_err(ExportFault::Output)
    }
}
