//! Requests as rows of a Parquet file.
//!
//! Only the columns that a request is made of are read, a page at a time, and each on its own: a value that can't be
//! read breaks its row and no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::parquet::basic::{ConvertedType, LogicalType, Type};
use ::parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use ::parquet::data_type::DataType;
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use ::parquet::schema::types::{ColumnDescPtr, ColumnDescriptor, SchemaDescriptor};

use super::{Found, Reading, Request, Trace, TraceError};

/// What every Parquet file begins with.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Names that the columns go by, the first that is there.
const PROMPT: &[&str] = &["prompt", "Prompt", "text"];
const GROUP: &[&str] = &["id_set", "ID_Set", "group"];
const RESPONSE: &[&str] = &["response"];

/// Rows that are read at a time.
const ROWS: usize = 256;

/// Reads rows, `most` requests of them, with the vectors of the column `embeddings`.
pub(super) fn read<R: ChunkReader + 'static>(
    path: &Path,
    source: R,
    most: usize,
    embeddings: Option<&str>,
) -> Result<Trace, TraceError> {
    let damaged = |why: String| TraceError::Parquet { path: path.into(), why };
    // The crate panics at some files that are damaged.
    let reading = catch_unwind(AssertUnwindSafe(|| {
        let file = SerializedFileReader::new(source).map_err(|error| damaged(error.to_string()))?;
        let columns = Columns::find(path, file.metadata().file_metadata().schema_descr(), embeddings)?;
        rows(&file, &columns, Reading::new(most)).map_err(|error| damaged(error.to_string()))
    }));
    reading.unwrap_or_else(|_| Err(damaged("it is damaged".into())))
}

fn rows(file: &dyn FileReader, columns: &Columns, mut reading: Reading) -> Result<Trace, ParquetError> {
    let mut number = 0;
    for group in 0..file.num_row_groups() {
        if reading.wanted() == 0 {
            break;
        }
        let group = file.get_row_group(group)?;
        let mut left = usize::try_from(group.metadata().num_rows())?;
        let mut cursor = Cursor::open(&*group, columns)?;
        while left > 0 && reading.wanted() > 0 {
            let batch = left.min(reading.wanted()).min(ROWS);
            for found in cursor.next(batch)? {
                number += 1;
                reading.take(number, found);
            }
            left -= batch;
        }
    }
    Ok(reading.trace)
}

/// Which columns a request is made of.
struct Columns {
    prompt: usize,
    group: Option<usize>,
    response: Option<usize>,
    embedding: Option<usize>,
}

impl Columns {
    fn find(path: &Path, schema: &SchemaDescriptor, embeddings: Option<&str>) -> Result<Self, TraceError> {
        let named = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| (0..schema.num_columns()).find(|index| schema.get_column_root(*index).name() == *name))
        };
        let checked = |index: usize, holds: bool, wanted| {
            let column = schema.get_column_root(index).name().to_owned();
            if holds { Ok(index) } else { Err(TraceError::WrongType { path: path.into(), column, wanted }) }
        };
        let missing =
            |wanted: String, present: Vec<String>| TraceError::NoColumn { path: path.into(), wanted, present };
        let all = || schema.root_schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
        let text = |index| checked(index, holds_text(&schema.column(index)), "text");

        let prompt = named(PROMPT).ok_or_else(|| missing(format!("column {}", either(PROMPT)), all()))?;
        let response = named(RESPONSE).map(text).transpose()?;
        let group = named(GROUP).map(|index| {
            let column = schema.column(index);
            checked(index, holds_text(&column) || integers(&column).is_some(), "text or integers")
        });
        if group.is_none() && response.is_none() {
            return Err(missing(format!("column {}", either(&[GROUP, RESPONSE].concat())), all()));
        }
        let embedding = embeddings.map(|name| {
            let vectors = || (0..schema.num_columns()).filter(|index| holds_vectors(schema, *index));
            let present = || vectors().map(|index| schema.get_column_root(index).name().to_owned()).collect();
            let index = named(&[name]).ok_or_else(|| missing(format!("embeddings `{name}`"), present()))?;
            checked(index, holds_vectors(schema, index), "lists of floating-point numbers")
        });
        Ok(Self { prompt: text(prompt)?, group: group.transpose()?, response, embedding: embedding.transpose()? })
    }
}

/// Names to choose from, as a sentence has them.
fn either(names: &[&str]) -> String {
    format!("`{}`", names.join("` or `"))
}

/// Whether a column has one value a row at most, and isn't a part of another.
fn is_flat(column: &ColumnDescriptor) -> bool {
    column.max_rep_level() == 0 && column.path().parts().len() == 1
}

fn holds_text(column: &ColumnDescriptor) -> bool {
    use ConvertedType::{ENUM, JSON, NONE, UTF8};
    let is_text = match column.logical_type_ref() {
        None => matches!(column.converted_type(), NONE | UTF8 | ENUM | JSON),
        Some(logical) => matches!(logical, LogicalType::String | LogicalType::Enum | LogicalType::Json),
    };
    is_flat(column) && column.physical_type() == Type::BYTE_ARRAY && is_text
}

/// How the integers of a column are meant.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Integers {
    Signed,
    Unsigned,
}

fn integers(column: &ColumnDescriptor) -> Option<Integers> {
    use ConvertedType::{INT_8, INT_16, INT_32, INT_64, NONE, UINT_8, UINT_16, UINT_32, UINT_64};
    if !is_flat(column) || !matches!(column.physical_type(), Type::INT32 | Type::INT64) {
        return None;
    }
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Integer(integer)), _) if !integer.is_signed => Some(Integers::Unsigned),
        (Some(LogicalType::Integer(_)), _) | (None, NONE | INT_8 | INT_16 | INT_32 | INT_64) => Some(Integers::Signed),
        (None, UINT_8 | UINT_16 | UINT_32 | UINT_64) => Some(Integers::Unsigned),
        // Dates, prices.
        _ => None,
    }
}

/// Whether a column is a list of numbers, however its levels are called.
fn holds_vectors(schema: &SchemaDescriptor, index: usize) -> bool {
    let (column, root) = (schema.column(index), schema.get_column_root_idx(index));
    let is_only = (0..schema.num_columns()).filter(|other| schema.get_column_root_idx(*other) == root).count() == 1;
    is_only && column.max_rep_level() == 1 && matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE)
}

/// The columns of a row group, all at the same row.
struct Cursor {
    prompt: Column,
    group: Option<Column>,
    response: Option<Column>,
    embedding: Option<Column>,
}

impl Cursor {
    fn open(group: &dyn RowGroupReader, columns: &Columns) -> Result<Self, ParquetError> {
        let open = |index: usize| {
            let description = group.metadata().column(index).column_descr_ptr();
            Ok::<_, ParquetError>(Column { reader: group.get_column_reader(index)?, description })
        };
        Ok(Self {
            prompt: open(columns.prompt)?,
            group: columns.group.map(open).transpose()?,
            response: columns.response.map(open).transpose()?,
            embedding: columns.embedding.map(open).transpose()?,
        })
    }

    /// The next `count` rows.
    fn next(&mut self, count: usize) -> Result<impl Iterator<Item = Result<Found, String>>, ParquetError> {
        let prompts = self.prompt.texts(count)?;
        let mut groups = self.group.as_mut().map(|column| column.texts(count)).transpose()?.map(Vec::into_iter);
        let mut responses = self.response.as_mut().map(|column| column.texts(count)).transpose()?.map(Vec::into_iter);
        let mut embeddings =
            self.embedding.as_mut().map(|column| column.vectors(count)).transpose()?.map(Vec::into_iter);
        Ok(prompts.into_iter().map(move |prompt| {
            // All move on, whatever is wrong with one.
            let group = groups.as_mut().and_then(Iterator::next);
            let response = responses.as_mut().and_then(Iterator::next);
            let embedding = embeddings.as_mut().and_then(Iterator::next);
            let text =
                |cell: Option<Cell>, name| cell.unwrap_or(Ok(None)).map_err(|NoText| format!("its {name} is no UTF-8"));
            let (prompt, group, response) =
                (text(Some(prompt), "prompt")?, text(group, "group")?, text(response, "response")?);
            let embedding = embedding.map(Vector::whole).transpose()?;
            Ok(Found { prompt, group, rest: Request { response, embedding, ..Request::default() } })
        }))
    }
}

/// Bytes that are no text.
struct NoText;

/// A row's text in a column, if it has one.
type Cell = Result<Option<String>, NoText>;

/// A row's list in a column of lists.
#[derive(Default)]
struct Vector {
    values: Vec<f32>,
    /// With those that aren't there.
    length: usize,
}

impl Vector {
    /// A list without gaps. Who asks for a column's vectors wants them all: another model's can't stand in for them.
    fn whole(self) -> Result<Vec<f32>, String> {
        match self.values.len() {
            0 => Err("its embedding is missing".into()),
            length if length < self.length => Err("its embedding has gaps".into()),
            _ => Ok(self.values),
        }
    }
}

/// A column of a row group.
struct Column {
    reader: ColumnReader,
    description: ColumnDescPtr,
}

impl Column {
    /// The next `count` rows of a column of texts or integers.
    fn texts(&mut self, count: usize) -> Result<Vec<Cell>, ParquetError> {
        let (top, unsigned) =
            (self.description.max_def_level(), integers(&self.description) == Some(Integers::Unsigned));
        match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(reader) => {
                flat(reader, top, count, |bytes| bytes.as_utf8().map(|text| Some(text.to_owned())).map_err(|_| NoText))
            }
            ColumnReader::Int32ColumnReader(reader) => flat(reader, top, count, |number| {
                Ok(Some(if unsigned { number.cast_unsigned().to_string() } else { number.to_string() }))
            }),
            ColumnReader::Int64ColumnReader(reader) => flat(reader, top, count, |number| {
                Ok(Some(if unsigned { number.cast_unsigned().to_string() } else { number.to_string() }))
            }),
            _ => Err(ParquetError::General("a column has another type than the schema says".into())),
        }
    }

    /// The next `count` rows of a column of lists.
    fn vectors(&mut self, count: usize) -> Result<Vec<Vector>, ParquetError> {
        let top = self.description.max_def_level();
        match &mut self.reader {
            ColumnReader::FloatColumnReader(reader) => lists(reader, top, count, |x| x),
            // 32 bits are the precision of embeddings; what is too large for them becomes infinite, and is seen then.
            ColumnReader::DoubleColumnReader(reader) => lists(reader, top, count, |x| x as f32),
            _ => Err(ParquetError::General("a column has another type than the schema says".into())),
        }
    }
}

/// The next rows of a column that has a value wherever the definition level is `top`.
fn flat<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    top: i16,
    count: usize,
    text: impl Fn(T::T) -> Cell,
) -> Result<Vec<Cell>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let (rows, _, _) = reader.read_records(count, Some(&mut levels), None, &mut values)?;
    all_rows(rows, count)?;
    let mut values = values.into_iter();
    // A column that every row must have a value of has no levels.
    let has_value = (0..count).map(|row| levels.get(row).is_none_or(|level| *level == top));
    let cell = |has: bool| if has { values.next().map_or(Ok(None), &text) } else { Ok(None) };
    Ok(has_value.map(cell).collect())
}

/// The next rows of a column of lists.
fn lists<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    top: i16,
    count: usize,
    number: impl Fn(T::T) -> f32,
) -> Result<Vec<Vector>, ParquetError> {
    let (mut defined, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (rows, _, _) = reader.read_records(count, Some(&mut defined), Some(&mut repeated), &mut values)?;
    all_rows(rows, count)?;
    let mut values = values.into_iter();
    let mut lists: Vec<Vector> = Vec::with_capacity(count);
    for (defined, repeated) in defined.into_iter().zip(repeated) {
        // A list begins where nothing is repeated.
        if repeated == 0 {
            lists.push(Vector::default());
        }
        let list = lists.last_mut().ok_or_else(|| ParquetError::General("a column begins within a row".into()))?;
        list.length += 1;
        if defined == top {
            list.values.extend(values.next().map(&number));
        }
    }
    all_rows(lists.len(), count)?;
    Ok(lists)
}

fn all_rows(found: usize, wanted: usize) -> Result<(), ParquetError> {
    if found == wanted { Ok(()) } else { Err(ParquetError::EOF("a column has fewer rows than there are".into())) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use ::parquet::basic::{Compression, ZstdLevel};
    use ::parquet::data_type::{ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::reader::Length;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// What a column is filled with: a value or none in each row.
    enum Values {
        Bytes(Vec<Option<&'static [u8]>>),
        Int32(Vec<Option<i32>>),
        Int64(Vec<Option<i64>>),
        Floats(Vec<Option<Vec<Option<f32>>>>),
        Doubles(Vec<Option<Vec<Option<f64>>>>),
    }

    fn texts(texts: &[&'static str]) -> Values {
        Values::Bytes(texts.iter().map(|text| Some(text.as_bytes())).collect())
    }

    fn floats(rows: &[&[f32]]) -> Values {
        Values::Floats(rows.iter().map(|row| Some(row.iter().copied().map(Some).collect())).collect())
    }

    /// A list column as arrow's writers make it.
    fn list(name: &str, number: &str) -> String {
        format!("optional group {name} (LIST) {{ repeated group list {{ optional {number} element; }} }}")
    }

    /// Values, definition and repetition levels of an optional list of optional values.
    fn levels<T: Copy>(rows: &[Option<Vec<Option<T>>>]) -> (Vec<T>, Vec<i16>, Vec<i16>) {
        let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let elements = row.as_deref().unwrap_or_default();
            if elements.is_empty() {
                defined.push(i16::from(row.is_some()));
                repeated.push(0);
            }
            for (index, element) in elements.iter().enumerate() {
                values.extend(element);
                defined.push(if element.is_some() { 3 } else { 2 });
                repeated.push(i16::from(index > 0));
            }
        }
        (values, defined, repeated)
    }

    fn flat<T: Clone>(rows: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
        (rows.iter().flatten().cloned().collect(), rows.iter().map(|row| i16::from(row.is_some())).collect())
    }

    /// A file of these columns, in as many row groups as there are lists of them.
    fn file(fields: &str, compression: Compression, groups: &[Vec<Values>]) -> Bytes {
        let schema = Arc::new(parse_message_type(&format!("message trace {{ {fields} }}")).unwrap());
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
        for columns in groups {
            let mut group = file.next_row_group().unwrap();
            for column in columns {
                let mut writer = group.next_column().unwrap().unwrap();
                match column {
                    Values::Bytes(rows) => {
                        let (values, defined) = flat(rows);
                        let values: Vec<_> = values.into_iter().map(|bytes| bytes.to_vec().into()).collect();
                        writer.typed::<ByteArrayType>().write_batch(&values, Some(&defined), None).unwrap();
                    }
                    Values::Int32(rows) => {
                        let (values, defined) = flat(rows);
                        writer.typed::<Int32Type>().write_batch(&values, Some(&defined), None).unwrap();
                    }
                    Values::Int64(rows) => {
                        let (values, defined) = flat(rows);
                        writer.typed::<Int64Type>().write_batch(&values, Some(&defined), None).unwrap();
                    }
                    Values::Floats(rows) => {
                        let (values, defined, repeated) = levels(rows);
                        writer.typed::<FloatType>().write_batch(&values, Some(&defined), Some(&repeated)).unwrap();
                    }
                    Values::Doubles(rows) => {
                        let (values, defined, repeated) = levels(rows);
                        writer.typed::<DoubleType>().write_batch(&values, Some(&defined), Some(&repeated)).unwrap();
                    }
                }
                writer.close().unwrap();
            }
            group.close().unwrap();
        }
        file.into_inner().unwrap().into()
    }

    fn parsed(file: Bytes, embeddings: Option<&str>) -> Result<Trace, TraceError> {
        read(Path::new("trace"), file, usize::MAX, embeddings)
    }

    fn groups(trace: &Trace) -> Vec<&str> {
        trace.requests.iter().map(|request| request.group.as_str()).collect()
    }

    #[test]
    fn rows_become_requests_in_their_order() {
        let fields = format!(
            "required binary Prompt (UTF8); optional int64 ID_Set; optional binary response (UTF8); {} {}",
            list("emb_e5", "double"),
            list("emb_gte", "float")
        );
        let group = |prompts: &[&'static str], first: i64| {
            let rows = 0..prompts.len() as i64;
            let pair = |row: i64| vec![Some((first + row) as f32), Some(1.0)];
            vec![
                texts(prompts),
                Values::Int64(rows.clone().map(|row| Some(first + row)).collect()),
                Values::Bytes(rows.clone().map(|row| (row == 0).then_some(&b"yes"[..])).collect()),
                Values::Doubles(rows.clone().map(|_| Some(vec![Some(0.5), None])).collect()),
                Values::Floats(rows.map(|row| Some(pair(row))).collect()),
            ]
        };
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(ZstdLevel::default()),
            Compression::GZIP(Default::default()),
            Compression::LZ4_RAW,
        ] {
            let file = file(&fields, compression, &[group(&["a", "b"], -1), group(&["c"], 7)]);
            let trace = parsed(file.clone(), Some("emb_gte")).unwrap();
            let prompts: Vec<&str> = trace.requests.iter().map(|request| request.prompt.as_str()).collect();
            assert_eq!((prompts, groups(&trace)), (vec!["a", "b", "c"], vec!["-1", "0", "7"]));
            let b = Request {
                prompt: "b".into(),
                group: "0".into(),
                embedding: Some(vec![0.0, 1.0]),
                ..Request::default()
            };
            assert_eq!((&trace.requests[1], trace.requests[2].response.as_deref()), (&b, Some("yes")));
            assert_eq!((trace.skipped, read(Path::new("trace"), file, 2, None).unwrap().requests.len()), (0, 2));
        }
    }

    #[test]
    fn many_rows_are_read_some_at_a_time() {
        let rows = 3 * ROWS + 5;
        let values = vec![
            texts(&vec!["a"; rows]),
            Values::Int64((0..rows as i64).map(|row| (row % 7 > 0).then_some(row)).collect()),
            Values::Floats((0..rows).map(|row| Some(vec![Some(1.0 + row as f32); 40])).collect()),
        ];
        let fields = format!("required binary prompt; optional int64 group; {}", list("emb_gte", "float"));
        let file = file(&fields, Compression::SNAPPY, &[values]);
        let trace = parsed(file.clone(), Some("emb_gte")).unwrap();
        assert_eq!(trace.skipped as usize, rows.div_ceil(7));
        for request in &trace.requests {
            let row: f32 = request.group.parse().unwrap();
            assert_eq!(request.embedding, Some(vec![row + 1.0; 40]));
        }
        let some = read(Path::new("trace"), file, ROWS, None).unwrap();
        assert_eq!((some.requests.len(), groups(&some)), (ROWS, groups(&trace)[..ROWS].to_vec()));
    }

    #[test]
    fn groups_are_text_or_integers_of_any_type() {
        let of = |column: &str, values: Values| {
            let file =
                file(&format!("required binary text; {column};"), Compression::SNAPPY, &[vec![texts(&["a"]), values]]);
            parsed(file, None).map(|trace| trace.requests[0].group.clone())
        };
        let minus_one = || Values::Int32(vec![Some(-1)]);
        assert_eq!(of("optional binary id_set (UTF8)", texts(&["g"])).unwrap(), "g");
        assert_eq!(of("optional binary group", texts(&["g"])).unwrap(), "g");
        assert_eq!(of("optional int32 id_set", minus_one()).unwrap(), "-1");
        assert_eq!(of("optional int32 id_set (INTEGER(8,true))", minus_one()).unwrap(), "-1");
        assert_eq!(of("optional int32 id_set (UINT_32)", minus_one()).unwrap(), "4294967295");
        assert_eq!(
            of("optional int64 id_set (INTEGER(64,false))", Values::Int64(vec![Some(-1)])).unwrap(),
            u64::MAX.to_string()
        );
        assert_eq!(of("optional binary response (UTF8)", texts(&["yes"])).unwrap(), "yes");
        let error = of("optional int32 id_set (DATE)", minus_one()).unwrap_err().to_string();
        assert_eq!(error, "the column `id_set` of trace doesn't hold text or integers");
        let error = of("optional int32 other", minus_one()).unwrap_err().to_string();
        assert_eq!(error, "trace has no column `id_set` or `ID_Set` or `group` or `response`; it has `text`, `other`");
    }

    #[test]
    fn broken_rows_are_numbered_and_the_others_read() {
        let fields = format!("optional binary prompt; optional binary group; {}", list("emb_gte", "float"));
        let prompts = [Some(&b"a"[..]), None, Some(b""), Some(b"\xff"), Some(b"c"), Some(b"d"), Some(b"e"), Some(b"f")];
        let mut prompts = prompts.to_vec();
        prompts.extend([Some(&b"g"[..]), Some(b"h"), Some(b"i"), Some(b"j")]);
        let mut groups = vec![Some(&b"1"[..]); prompts.len()];
        groups[4] = None;
        let one = || Some(vec![Some(1.0), Some(0.0)]);
        let mut embeddings: Vec<_> = (0..prompts.len()).map(|_| one()).collect();
        embeddings[5] = Some(vec![Some(1.0)]);
        embeddings[6] = Some(vec![Some(f32::NAN), Some(1.0)]);
        embeddings[7] = Some(vec![Some(0.0), Some(0.0)]);
        embeddings[8] = None;
        embeddings[9] = Some(vec![]);
        embeddings[10] = Some(vec![Some(1.0), None]);
        let columns = vec![Values::Bytes(prompts), Values::Bytes(groups), Values::Floats(embeddings)];
        let trace = parsed(file(&fields, Compression::SNAPPY, &[columns]), Some("emb_gte")).unwrap();
        let prompts: Vec<&str> = trace.requests.iter().map(|request| request.prompt.as_str()).collect();
        let told: Vec<(u64, &str)> = trace.broken.iter().map(|(number, why)| (*number, why.as_str())).collect();
        assert_eq!((prompts.as_slice(), trace.skipped), (&["a", "j"][..], 10));
        assert_eq!(
            told,
            [
                (2, "it has no prompt"),
                (3, "its prompt is empty"),
                (4, "its prompt is no UTF-8"),
                (5, "it has neither a group nor a response"),
                (6, "its embedding has 1 dimensions, the first one has 2"),
                (7, "its embedding isn't finite"),
                (8, "its embedding is all zeros"),
                (9, "its embedding is missing"),
                (10, "its embedding is missing"),
                (11, "its embedding has gaps"),
            ]
        );
    }

    #[test]
    fn columns_that_are_not_there_are_told() {
        let fields = format!(
            "required binary prompt; required binary group; {} {}",
            list("emb_gte", "float"),
            list("emb_e5", "double")
        );
        let columns =
            || vec![texts(&["a"]), texts(&["g"]), floats(&[&[1.0]]), Values::Doubles(vec![Some(vec![Some(1e300)])])];
        let some = file(&fields, Compression::SNAPPY, &[columns()]);
        let error = |embeddings: &str| parsed(some.clone(), Some(embeddings)).unwrap_err().to_string();
        assert_eq!(error("emb_x"), "trace has no embeddings `emb_x`; it has `emb_gte`, `emb_e5`");
        assert_eq!(error("group"), "the column `group` of trace doesn't hold lists of floating-point numbers");
        // Too large for 32 bits.
        assert_eq!(parsed(some.clone(), Some("emb_e5")).unwrap().broken[0].1, "its embedding isn't finite");
        let none = file(
            "required binary prompt; required binary group;",
            Compression::SNAPPY,
            &[vec![texts(&["a"]), texts(&["g"])]],
        );
        let error = parsed(none, Some("emb_x")).unwrap_err().to_string();
        assert_eq!(error, "trace has no embeddings `emb_x`; it has none");
        let other = file("required binary question;", Compression::SNAPPY, &[vec![texts(&["a"])]]);
        let error = parsed(other, None).unwrap_err().to_string();
        assert_eq!(error, "trace has no column `prompt` or `Prompt` or `text`; it has `question`");
    }

    #[test]
    fn lists_of_other_shapes_are_read() {
        let row = [1.0, 2.0];
        let file = |field: &str, defined: i16| {
            let fields = format!("required binary prompt; required binary group; {field}");
            let schema = Arc::new(parse_message_type(&format!("message trace {{ {fields} }}")).unwrap());
            let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
            let mut group = file.next_row_group().unwrap();
            for _ in 0..2 {
                let mut writer = group.next_column().unwrap().unwrap();
                writer.typed::<ByteArrayType>().write_batch(&[b"a".to_vec().into()], None, None).unwrap();
                writer.close().unwrap();
            }
            let mut writer = group.next_column().unwrap().unwrap();
            writer.typed::<FloatType>().write_batch(&row, Some(&[defined; 2]), Some(&[0, 1])).unwrap();
            writer.close().unwrap();
            group.close().unwrap();
            Bytes::from(file.into_inner().unwrap())
        };
        for (field, defined) in [
            ("repeated float emb_gte;", 1),
            ("required group emb_gte (LIST) { repeated float array; }", 1),
            ("optional group emb_gte (LIST) { repeated group array { required float item; } }", 2),
        ] {
            let trace = parsed(file(field, defined), Some("emb_gte")).unwrap();
            assert_eq!(trace.requests[0].embedding.as_deref(), Some(&row[..]), "{field}");
        }
    }

    /// A file that remembers where it was read.
    struct Watched(Bytes, Arc<Mutex<Vec<u64>>>);

    impl Length for Watched {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
    }

    impl ChunkReader for Watched {
        type T = <Bytes as ChunkReader>::T;

        fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
            self.1.lock().unwrap().push(start);
            self.0.get_read(start)
        }

        fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
            self.1.lock().unwrap().extend([start, start + length as u64 - 1]);
            self.0.get_bytes(start, length)
        }
    }

    #[test]
    fn other_columns_are_not_read() {
        let fields = format!("required binary prompt; {} required binary group;", list("emb_gte", "float"));
        let columns = vec![texts(&["a"; 600]), floats(&[&[1.0; 64][..]; 600]), texts(&["g"; 600])];
        let file = file(&fields, Compression::UNCOMPRESSED, &[columns]);
        let metadata = SerializedFileReader::new(file.clone()).unwrap().metadata().clone();
        let (start, length) = metadata.row_group(0).column(1).byte_range();
        let places = Arc::new(Mutex::new(Vec::new()));
        let was_read = |embeddings| {
            places.lock().unwrap().clear();
            let trace = read(Path::new("trace"), Watched(file.clone(), Arc::clone(&places)), usize::MAX, embeddings);
            assert_eq!(trace.unwrap().requests.len(), 600);
            places.lock().unwrap().iter().any(|place| (start..start + length).contains(place))
        };
        assert!(!was_read(None) && was_read(Some("emb_gte")));
    }

    fn small(compression: Compression) -> Bytes {
        let fields = format!("optional binary prompt (UTF8); optional int64 id_set; {}", list("emb_gte", "float"));
        let columns = vec![
            texts(&["a", "b", "a", "c"]),
            Values::Int64(vec![Some(1), None, Some(1), Some(2)]),
            Values::Floats(vec![Some(vec![Some(1.0), None]), None, Some(vec![]), Some(vec![Some(1.0), Some(2.0)])]),
        ];
        file(&fields, compression, &[columns])
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), framed: bool) {
            let mut file = MAGIC.to_vec();
            file.extend(&bytes);
            if framed {
                file.extend((bytes.len() as u32).to_le_bytes());
                file.extend(MAGIC);
            }
            drop(parsed(file.clone().into(), Some("emb_gte")));
            let mut on_disk = tempfile::NamedTempFile::new().unwrap();
            on_disk.write_all(&file).unwrap();
            drop(Trace::open(on_disk.path(), usize::MAX, None));
        }

        #[test]
        fn no_damage_makes_the_reader_panic(
            packed in 0..3usize,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            end in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let compression = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())];
            let mut file = small(compression[packed]).to_vec();
            for (place, byte) in damage {
                let place = place.index(file.len());
                file[place] = byte;
            }
            if let Some(end) = end {
                file.truncate(end.index(file.len()));
            }
            drop(parsed(file.into(), Some("emb_gte")));
        }
    }
}
