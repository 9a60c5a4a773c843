//! The protobuf wire format: a message as a sequence of numbered values. Bounds are checked before anything is read.

/// One value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Wire<'a> {
    pub fn varint(self) -> Result<u64, String> {
        match self {
            Self::Varint(n) => Ok(n),
            other => Err(format!("a number was expected, not {}", other.name())),
        }
    }

    pub fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(format!("a message or a text was expected, not {}", other.name())),
        }
    }

    pub fn double(self) -> Result<f64, String> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(format!("a floating-point number was expected, not {}", other.name())),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Varint(_) => "a number",
            Self::Fixed64(_) => "8 fixed bytes",
            Self::Bytes(_) => "a message or a text",
            Self::Fixed32(_) => "4 fixed bytes",
        }
    }
}

/// The fields of a message in the order in which they stand; ends after the first error.
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Wire<'a>), String> {
        let tag = varint(&mut self.rest)?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or("a protobuf field number is out of range")?;
        let value = match tag & 7 {
            0 => Wire::Varint(varint(&mut self.rest)?),
            1 => Wire::Fixed64(u64::from_le_bytes(fixed(&mut self.rest)?)),
            2 => {
                let length = varint(&mut self.rest)?;
                Wire::Bytes(take(&mut self.rest, usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(fixed(&mut self.rest)?)),
            other => return Err(format!("protobuf wire type {other} is not in use")),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// UTF-8 text.
pub fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|e| format!("a text is not UTF-8: {e}"))
}

/// Numbers that an encoder has packed into one value.
pub fn packed(mut bytes: &[u8]) -> Result<Vec<u64>, String> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        numbers.push(varint(&mut bytes)?);
    }
    Ok(numbers)
}

fn varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = fixed(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("a protobuf number has more than ten bytes".into())
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let bytes = take(rest, N)?;
    bytes.try_into().map_err(|_| cut_short())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (taken, left) = rest.split_at_checked(length).ok_or_else(cut_short)?;
    *rest = left;
    Ok(taken)
}

fn cut_short() -> String {
    "the protobuf body is cut short".into()
}
