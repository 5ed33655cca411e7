//! The payload of a push: OpenTelemetry's `MetricsData`, of which gauges and sums of numbers are read.
//!
//! The bytes are walked and not decoded into messages: two bytes of an empty message would pay for a structure of a
//! hundred. What comes out is bounded by the caller, and strings that are too long are left out with their value.

/// Longest name of a metric, and longest text of its attributes together; bytes.
const TEXT_BYTES_MAX: usize = 256;

/// One value at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its attributes as `key=value`, comma separated, sorted.
    pub attributes: String,
    /// The value.
    pub value: f64,
}

/// What a payload holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Read {
    /// The first values that are wanted, up to the bound.
    pub samples: Vec<Sample>,
    /// Wanted values that were too many or too long.
    pub dropped: usize,
}

/// The bytes do not follow the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the metrics do not follow their encoding")]
pub struct Malformed;

/// Reads at most `max` values of the metrics that `wanted` says yes to.
///
/// # Errors
/// [`Malformed`].
pub fn read(payload: &[u8], max: usize, wanted: impl Fn(&str) -> bool) -> Result<Read, Malformed> {
    let mut read = Read::default();
    for resource in messages(payload, 1) {
        for scope in messages(resource?, 2) {
            for metric in messages(scope?, 2) {
                read_metric(metric?, max, &wanted, &mut read)?;
            }
        }
    }
    Ok(read)
}

/// `Metric`: name 1, gauge 5, sum 7; both have their points in field 1.
fn read_metric(
    metric: &[u8],
    max: usize,
    wanted: &impl Fn(&str) -> bool,
    read: &mut Read,
) -> Result<(), Malformed> {
    let name = last_text(metric, 1)?;
    if !wanted(name) {
        return Ok(());
    }
    for field in Fields(metric) {
        let (5 | 7, Value::Bytes(data)) = field? else { continue };
        for point in messages(data, 1) {
            let Some((attributes, value)) = read_point(point?)? else { continue };
            if read.samples.len() >= max || name.len() > TEXT_BYTES_MAX || attributes.len() > TEXT_BYTES_MAX {
                read.dropped += 1;
            } else {
                read.samples.push(Sample { name: name.to_owned(), attributes, value });
            }
        }
    }
    Ok(())
}

/// `NumberDataPoint`: a double 4, a 64-bit integer 6, attributes 7.
fn read_point(point: &[u8]) -> Result<Option<(String, f64)>, Malformed> {
    let mut value = None;
    let mut attributes = Vec::new();
    for field in Fields(point) {
        match field? {
            (4, Value::Fixed64(bits)) => value = Some(f64::from_bits(bits)),
            (6, Value::Fixed64(bits)) => value = Some(bits.cast_signed() as f64),
            // More are too long in any case.
            (7, Value::Bytes(attribute)) if attributes.len() < TEXT_BYTES_MAX => {
                attributes.push(read_attribute(attribute)?);
            }
            _ => {}
        }
    }
    attributes.sort_unstable();
    Ok(value.map(|value| (attributes.join(","), value)))
}

/// `KeyValue`: key 1, value 2, which is a text 1, a boolean 2 or an integer 3; others are left out.
fn read_attribute(attribute: &[u8]) -> Result<String, Malformed> {
    let key = last_text(attribute, 1)?;
    let mut text = String::new();
    for value in messages(attribute, 2) {
        for field in Fields(value?) {
            text = match field? {
                (1, Value::Bytes(bytes)) => std::str::from_utf8(bytes).map_err(|_| Malformed)?.to_owned(),
                (2, Value::Varint(flag)) => (flag != 0).to_string(),
                (3, Value::Varint(number)) => number.cast_signed().to_string(),
                _ => continue,
            };
        }
    }
    Ok(format!("{key}={text}"))
}

/// The last text field of that number, as decoders take it; empty when there is none.
fn last_text(message: &[u8], number: u32) -> Result<&str, Malformed> {
    let mut text = "";
    for bytes in messages(message, number) {
        text = std::str::from_utf8(bytes?).map_err(|_| Malformed)?;
    }
    Ok(text)
}

/// The length-delimited fields of that number.
fn messages(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    Fields(message).filter_map(move |field| match field {
        Ok((found, Value::Bytes(bytes))) if found == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of a message, in order; ends after the first fault.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], Malformed> {
        let count = usize::try_from(count).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                Value::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed32
            }
            _ => return Err(Malformed),
        };
        if number == 0 { Err(Malformed) } else { Ok((number, value)) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
#[path = "otlp_tests.rs"]
pub(crate) mod tests;
