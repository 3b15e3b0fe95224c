//! Pictures: decode, change, encode. One call does all of it, so that no pixels are kept between calls.

use std::convert::Infallible;
use std::io::Cursor;

use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_9X15, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Pixel, Point, Size};
use embedded_graphics::text::{Baseline, Text};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, ImageReader, Limits, Rgba, RgbaImage};

use crate::base::limits::{IMAGE_PIXELS_MAX, IMAGE_SIDE_MAX, IMAGE_TEXT_CHARS_MAX};

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF; of several pictures the first. Cannot be written.
    Gif,
    /// WebP; written without loss.
    Webp,
}

/// All formats with their words.
pub const FORMATS: &[(&str, Format, ImageFormat)] = &[
    ("png", Format::Png, ImageFormat::Png),
    ("jpeg", Format::Jpeg, ImageFormat::Jpeg),
    ("gif", Format::Gif, ImageFormat::Gif),
    ("webp", Format::Webp, ImageFormat::WebP),
];

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its format.
    pub format: Format,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// One change of a picture. Places may lie outside of it; what does is not drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Another size.
    Resize(u32, u32),
    /// Only this part: from the left, from the top, width, height.
    Crop([u32; 4]),
    /// A filled rectangle: from the left, from the top, width, height.
    Rectangle([i64; 4], [u8; 4]),
    /// Text of one line or more: from the left, from the top, height of a line.
    Text([i64; 2], u32, [u8; 4], String),
    /// Another picture, by its place in the list: from the left, from the top, and how much it covers, 0 to 1.
    Overlay(usize, [i64; 2], f32),
}

/// What to begin with.
pub enum Start<'a> {
    /// A file.
    File(&'a [u8]),
    /// A plain area: width, height, colour.
    Plain(u32, u32, [u8; 4]),
}

/// About what it takes, in nanoseconds per pixel, on a slow machine.
const DECODE_NS: u64 = 40;
const ENCODE_NS: u64 = 60;
const RESIZE_NS: u64 = 40;
const DRAW_NS: u64 = 8;
/// And per character of a text, also where it is drawn beside the picture.
const CHAR_NS: u64 = 2_000;
/// And per byte of a file: it may hold much that is no pixel.
const FILE_BYTE_NS: u64 = 20;
/// Bytes of a pixel as it is kept; while it is decoded (16 bits for each channel, and a copy); while its size changes.
const PIXEL_BYTES: u64 = 4;
const DECODE_BYTES: u64 = 12;
const RESIZE_BYTES: u64 = 16;
/// Bytes that a file may have unpacked beside its pixels: colour profiles and the like.
const EXTRAS_BYTES: u64 = 256 * 1024;

/// About what [`edit`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// CPU time in nanoseconds.
    pub ns: u64,
    /// Memory at once in bytes, beside that of the files themselves.
    pub bytes: u64,
}

/// What a file says of itself, without decoding it.
///
/// # Errors
///
/// When it is no picture, or too large.
pub fn info(bytes: &[u8]) -> Result<Info, String> {
    let guessed = image::guess_format(bytes).map_err(|_| "it is no picture that is known".to_owned())?;
    let format = FORMATS.iter().find(|(_, _, format)| *format == guessed).map(|(_, format, _)| *format);
    let format = format.ok_or("it is no picture of a format that is known: png, jpeg, gif, webp")?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), guessed);
    // Looking at a head may unpack what stands before the pixels.
    reader.limits(limits(0));
    let (width, height) = reader.into_dimensions().map_err(|error| format!("the picture is malformed: {error}"))?;
    check_size(width, height)?;
    Ok(Info { format, width, height })
}

/// What the library may use for a picture of so many pixels.
fn limits(pixels: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(IMAGE_SIDE_MAX);
    limits.max_image_height = Some(IMAGE_SIDE_MAX);
    limits.max_alloc = Some(pixels * DECODE_BYTES + EXTRAS_BYTES);
    limits
}

fn check_size(width: u32, height: u32) -> Result<(), String> {
    let pixels = u64::from(width) * u64::from(height);
    if width == 0 || height == 0 || width > IMAGE_SIDE_MAX || height > IMAGE_SIDE_MAX || pixels > IMAGE_PIXELS_MAX {
        return Err(format!(
            "a picture of {width} x {height} cannot be; each side has 1 to {IMAGE_SIDE_MAX} pixels, and at most \
             {IMAGE_PIXELS_MAX} in all"
        ));
    }
    Ok(())
}

/// About what [`edit`] takes. Looks at the heads of files only.
///
/// # Errors
///
/// When one is no picture, or something would be too large.
pub fn cost(start: &Start<'_>, others: &[&[u8]], steps: &[Step]) -> Result<Cost, String> {
    let pixels_of = |width: u32, height: u32| u64::from(width) * u64::from(height);
    let (mut ns, mut peak, mut kept) = (0, 0, 0);
    let mut decoded = |bytes: &[u8]| {
        let info = info(bytes)?;
        let pixels = pixels_of(info.width, info.height);
        ns += DECODE_NS * pixels + FILE_BYTE_NS * bytes.len() as u64;
        peak = peak.max(kept + DECODE_BYTES * pixels + EXTRAS_BYTES);
        kept += PIXEL_BYTES * pixels;
        Ok::<_, String>((info.width, info.height))
    };
    let (mut width, mut height) = match start {
        Start::File(bytes) => decoded(bytes)?,
        Start::Plain(width, height, _) => {
            check_size(*width, *height)?;
            (*width, *height)
        }
    };
    for other in others {
        decoded(other)?;
    }
    if let Start::Plain(..) = start {
        ns += DRAW_NS * pixels_of(width, height);
        kept += PIXEL_BYTES * pixels_of(width, height);
    }
    for step in steps {
        let pixels = pixels_of(width, height);
        match step {
            Step::Resize(w, h) | Step::Crop([_, _, w, h]) => {
                check_size(*w, *h)?;
                // Between the two directions there is a third picture.
                let between = pixels_of(width, *h).min(pixels_of(*w, height));
                ns += RESIZE_NS * (pixels + between + pixels_of(*w, *h));
                peak = peak.max(kept + RESIZE_BYTES * between.max(pixels) + PIXEL_BYTES * pixels_of(*w, *h));
                kept = kept - PIXEL_BYTES * pixels + PIXEL_BYTES * pixels_of(*w, *h);
                (width, height) = (*w, *h);
            }
            Step::Rectangle(..) | Step::Overlay(..) => ns += DRAW_NS * pixels,
            Step::Text(.., text) => {
                ns += DRAW_NS * pixels + CHAR_NS * text.chars().take(IMAGE_TEXT_CHARS_MAX).count() as u64;
            }
        }
    }
    // The file that is written, and for JPEG a copy without the fourth channel.
    let pixels = pixels_of(width, height);
    let bytes = peak.max(kept + 2 * PIXEL_BYTES * pixels);
    Ok(Cost { ns: ns + ENCODE_NS * pixels, bytes })
}

/// Begins with a picture, makes the changes in their order, and writes it. `quality` (1 to 100) is that of JPEG.
///
/// # Errors
///
/// What is malformed, too large, or cannot be written.
pub fn edit(
    start: &Start<'_>,
    others: &[&[u8]],
    steps: &[Step],
    format: Format,
    quality: u8,
) -> Result<Vec<u8>, String> {
    let mut picture = match start {
        Start::File(bytes) => decode(bytes)?,
        Start::Plain(width, height, color) => {
            check_size(*width, *height)?;
            RgbaImage::from_pixel(*width, *height, Rgba(*color))
        }
    };
    let others = others.iter().map(|bytes| decode(bytes)).collect::<Result<Vec<RgbaImage>, String>>()?;
    for step in steps {
        picture = change(picture, &others, step)?;
    }
    encode(picture, format, quality)
}

fn decode(bytes: &[u8]) -> Result<RgbaImage, String> {
    let wanted = info(bytes)?;
    let format = FORMATS.iter().find(|(_, format, _)| *format == wanted.format).expect("info knows no other").2;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits(u64::from(wanted.width) * u64::from(wanted.height)));
    let picture = reader.decode().map_err(|error| format!("the picture is malformed: {error}"))?.into_rgba8();
    check_size(picture.width(), picture.height())?;
    Ok(picture)
}

fn encode(picture: RgbaImage, format: Format, quality: u8) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let written = match format {
        Format::Jpeg => {
            let opaque = DynamicImage::ImageRgba8(picture).into_rgb8();
            JpegEncoder::new_with_quality(&mut out, quality.clamp(1, 100)).encode_image(&opaque)
        }
        Format::Png => picture.write_to(&mut Cursor::new(&mut out), ImageFormat::Png),
        Format::Webp => picture.write_to(&mut Cursor::new(&mut out), ImageFormat::WebP),
        Format::Gif => return Err("a picture is written as png, jpeg or webp".to_owned()),
    };
    written.map_err(|error| format!("the picture cannot be written: {error}"))?;
    Ok(out)
}

fn change(mut picture: RgbaImage, others: &[RgbaImage], step: &Step) -> Result<RgbaImage, String> {
    match step {
        Step::Resize(width, height) => {
            check_size(*width, *height)?;
            picture = resized(&picture, *width, *height);
        }
        Step::Crop([x, y, width, height]) => {
            let (right, bottom) = (x.checked_add(*width), y.checked_add(*height));
            let is_inside =
                right.is_some_and(|r| r <= picture.width()) && bottom.is_some_and(|b| b <= picture.height());
            if !is_inside || *width == 0 || *height == 0 {
                let (w, h) = picture.dimensions();
                return Err(format!("the part {width} x {height} at {x}, {y} is not within a picture of {w} x {h}"));
            }
            picture = imageops::crop_imm(&picture, *x, *y, *width, *height).to_image();
        }
        Step::Rectangle(place, color) => rectangle(&mut picture, *place, *color),
        Step::Text([x, y], size, color, text) => draw_text(&mut picture, [*x, *y], *size, *color, text),
        Step::Overlay(index, [x, y], opacity) => {
            let other = others.get(*index).ok_or_else(|| format!("there is no picture {} to lay over", index + 1))?;
            overlay(&mut picture, other, [*x, *y], *opacity);
        }
    }
    Ok(picture)
}

/// Another size. The library goes up and down first, then across: a wide picture that becomes a high one would be both
/// on the way, so that is done the other way round.
fn resized(picture: &RgbaImage, width: u32, height: u32) -> RgbaImage {
    let between = |width: u32, height: u32| u64::from(width) * u64::from(height);
    if between(width, picture.height()) < between(picture.width(), height) {
        let across = imageops::resize(picture, width, picture.height(), FilterType::Triangle);
        return imageops::resize(&across, width, height, FilterType::Triangle);
    }
    imageops::resize(picture, width, height, FilterType::Triangle)
}

/// Mixes a colour into a pixel.
fn blend(pixel: &mut Rgba<u8>, [red, green, blue, alpha]: [u8; 4]) {
    let (over, under) = (u32::from(alpha), u32::from(pixel.0[3]) * (255 - u32::from(alpha)) / 255);
    let whole = (over + under).max(1);
    for (channel, new) in pixel.0.iter_mut().zip([red, green, blue]) {
        *channel = ((u32::from(new) * over + u32::from(*channel) * under) / whole) as u8;
    }
    pixel.0[3] = (over + under).min(255) as u8;
}

/// The part of `first..first + len` that is within `0..bound`.
fn within(first: i64, len: i64, bound: u32) -> std::ops::Range<u32> {
    let start = first.clamp(0, i64::from(bound));
    let end = first.saturating_add(len.max(0)).clamp(start, i64::from(bound));
    start as u32..end as u32
}

fn rectangle(picture: &mut RgbaImage, [x, y, width, height]: [i64; 4], color: [u8; 4]) {
    let (columns, rows) = (within(x, width, picture.width()), within(y, height, picture.height()));
    for row in rows {
        for column in columns.clone() {
            blend(picture.get_pixel_mut(column, row), color);
        }
    }
}

fn overlay(picture: &mut RgbaImage, other: &RgbaImage, [x, y]: [i64; 2], opacity: f32) {
    let columns = within(x, i64::from(other.width()), picture.width());
    let rows = within(y, i64::from(other.height()), picture.height());
    let opacity = opacity.clamp(0.0, 1.0);
    for row in rows {
        for column in columns.clone() {
            let from = other.get_pixel((i64::from(column) - x) as u32, (i64::from(row) - y) as u32).0;
            let alpha = (f32::from(from[3]) * opacity) as u8;
            blend(picture.get_pixel_mut(column, row), [from[0], from[1], from[2], alpha]);
        }
    }
}

/// Draws letters, each of their pixels as a square.
struct Pen<'a> {
    picture: &'a mut RgbaImage,
    place: [i64; 2],
    scale: u32,
    color: [u8; 4],
}

impl OriginDimensions for Pen<'_> {
    fn size(&self) -> Size {
        Size::new(i32::MAX as u32, i32::MAX as u32)
    }
}

impl DrawTarget for Pen<'_> {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let scale = i64::from(self.scale);
        for Pixel(point, color) in pixels {
            if color.is_on() {
                let x = self.place[0].saturating_add(i64::from(point.x) * scale);
                let y = self.place[1].saturating_add(i64::from(point.y) * scale);
                rectangle(self.picture, [x, y, scale, scale], self.color);
            }
        }
        Ok(())
    }
}

fn draw_text(picture: &mut RgbaImage, place: [i64; 2], size: u32, color: [u8; 4], text: &str) {
    let (font, scale): (&MonoFont<'_>, u32) = match size {
        0..15 => (&FONT_6X10, 1),
        15..20 => (&FONT_9X15, 1),
        20.. => (&FONT_10X20, (size / 20).min(IMAGE_SIDE_MAX / 20)),
    };
    let text: String = text.chars().take(IMAGE_TEXT_CHARS_MAX).collect();
    let mut pen = Pen { picture, place, scale, color };
    let style = MonoTextStyle::new(font, BinaryColor::On);
    let Ok(_) = Text::with_baseline(&text, Point::zero(), style, Baseline::Top).draw(&mut pen);
}

#[cfg(test)]
mod tests {
    use image::ImageEncoder;

    use super::*;

    const RED: [u8; 4] = [255, 0, 0, 255];
    const WHITE: [u8; 4] = [255, 255, 255, 255];

    fn drawn(steps: &[Step]) -> RgbaImage {
        decode(&edit(&Start::Plain(40, 30, WHITE), &[], steps, Format::Png, 0).unwrap()).unwrap()
    }

    #[test]
    fn what_is_drawn_is_there_and_nothing_beyond_the_edges() {
        let picture = drawn(&[Step::Rectangle([-5, 2, 10, 3], RED)]);
        assert_eq!(
            (picture.get_pixel(4, 2).0, picture.get_pixel(5, 2).0, picture.get_pixel(0, 5).0),
            (RED, WHITE, WHITE)
        );
        drawn(&[Step::Rectangle([i64::MIN, i64::MIN, i64::MAX, i64::MAX], RED)]);
        assert_eq!(drawn(&[Step::Rectangle([i64::MAX, 0, i64::MAX, 5], RED)]), drawn(&[]));
        let half = drawn(&[Step::Rectangle([0, 0, 40, 30], [0, 0, 0, 128])]);
        assert_eq!(half.get_pixel(1, 1).0, [127, 127, 127, 255]);
        let ink = |size| {
            let text = Step::Text([0, 0], size, RED, "A\u{4e00}".to_owned());
            drawn(&[text]).pixels().filter(|pixel| pixel.0 == RED).count()
        };
        assert!(ink(10) > 5 && ink(20) > ink(10), "{} {}", ink(10), ink(20));
        drawn(&[Step::Text([i64::MAX, i64::MIN], u32::MAX, RED, "x".repeat(100_000))]);
    }

    #[test]
    fn formats_sizes_and_parts_are_as_asked_for() {
        for (_, format, _) in FORMATS.iter().filter(|(_, format, _)| *format != Format::Gif) {
            let steps = [Step::Resize(20, 10), Step::Crop([1, 1, 8, 9])];
            let bytes = edit(&Start::Plain(40, 30, RED), &[], &steps, *format, 90).unwrap();
            assert_eq!(info(&bytes).unwrap(), Info { format: *format, width: 8, height: 9 });
            let again = decode(&bytes).unwrap();
            let [red, green, ..] = again.get_pixel(3, 3).0;
            assert!(red > 240 && green < 16, "{format:?}");
            let over = edit(&Start::Plain(9, 9, WHITE), &[&bytes], &[Step::Overlay(0, [-1, 5], 1.0)], Format::Png, 0);
            let over = decode(&over.unwrap()).unwrap();
            assert!(over.get_pixel(0, 6).0[1] < 16 && over.get_pixel(0, 0).0 == WHITE);
        }
        assert!(edit(&Start::Plain(9, 9, RED), &[], &[], Format::Gif, 0).is_err());
        assert!(edit(&Start::Plain(9, 9, RED), &[], &[Step::Crop([5, 5, 5, 1])], Format::Png, 0).is_err());
        assert!(edit(&Start::Plain(9, 9, RED), &[], &[Step::Crop([u32::MAX, 0, 5, 1])], Format::Png, 0).is_err());
        assert!(edit(&Start::Plain(9, 9, RED), &[], &[Step::Overlay(0, [0, 0], 1.0)], Format::Png, 0).is_err());
    }

    #[test]
    fn large_and_malformed_pictures_are_refused_by_their_heads() {
        let mut png = edit(&Start::Plain(9, 9, RED), &[], &[], Format::Png, 0).unwrap();
        for len in 0..png.len() - 12 {
            assert!(decode(&png[..len]).is_err(), "{len}");
        }
        // Width and height in the head, which claims a picture of 2^62 pixels.
        png[16..24].copy_from_slice(&[0x7f, 255, 255, 255, 0x7f, 255, 255, 255]);
        let error = info(&png).unwrap_err();
        assert!(error.contains("cannot be") || error.contains("malformed"), "{error}");
        assert!(info(b"").is_err() && info(b"BM\0\0").is_err());
        assert!(cost(&Start::Plain(1, IMAGE_SIDE_MAX + 1, RED), &[], &[]).is_err());
        assert!(cost(&Start::Plain(1, 1, RED), &[], &[Step::Resize(IMAGE_SIDE_MAX, IMAGE_SIDE_MAX)]).is_err());
        let ns = |steps: &[Step]| cost(&Start::Plain(10, 10, RED), &[], steps).unwrap().ns;
        assert!(ns(&[]) < ns(&[Step::Resize(100, 100)]));
        let text = Step::Text([i64::MIN, 0], 20, RED, "x".repeat(1_000));
        assert!(ns(&[]) + 100_000 < ns(&[text]), "what is drawn beside the picture takes time, too");
    }

    /// A picture of one pixel whose colour profile is so long.
    fn with_profile(bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut out);
        encoder.set_icc_profile(vec![0; bytes]).unwrap();
        encoder.write_image(&[0], 1, 1, image::ExtendedColorType::L8).unwrap();
        out
    }

    #[test]
    fn what_is_packed_beside_the_pixels_is_bounded() {
        assert!(info(&with_profile(1_000)).is_ok());
        let bomb = with_profile(64 << 20);
        assert!(bomb.len() < 1 << 20);
        for told in [info(&bomb).map(|_| ()), decode(&bomb).map(|_| ())] {
            // It is passed over or refused; what it must not be is unpacked, which the time of this test would show.
            assert!(told.is_ok() || told.is_err_and(|error| error.contains("malformed")));
        }
    }

    #[test]
    fn a_wide_picture_becomes_a_high_one_without_being_both_on_the_way() {
        let start = Start::Plain(IMAGE_SIDE_MAX, 2, RED);
        let steps = [Step::Resize(2, IMAGE_SIDE_MAX)];
        let cost = cost(&start, &[], &steps).unwrap();
        assert!(cost.bytes < 1 << 20, "{cost:?}");
        let made = decode(&edit(&start, &[], &steps, Format::Png, 0).unwrap()).unwrap();
        assert_eq!((made.dimensions(), made.get_pixel(1, 5_000).0), ((2, IMAGE_SIDE_MAX), RED));
    }
}
