//! Behind `@netserv/image`.

use serde::Deserialize;
use serde_json::json;

use crate::base::limits::{IMAGE_PICTURES_MAX, IMAGE_STEPS_BYTES_MAX, IMAGE_STEPS_MAX, SAFEPOINTS_PER_MS};
use crate::blocks::image::{self, FORMATS, Format, Start, Step};
use crate::container::api::block::{Block, item};
use crate::container::api::{Answer, context};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "image",
    summary: "Pictures: decode, draw, encode.",
    about: "Reads PNG, JPEG, GIF (its first picture) and WebP; writes PNG, JPEG and WebP. One call does all, and keeps no pixels. It \
            needs CPU time: about 0.1 ms for 1,000 pixels that are read, changed and written. A call that would take longer than \
            `limits.cpu_ms_per_call`, or more memory at once than `limits.memory_bytes`, is refused before it begins; the node \
            waits meanwhile, so make pictures small. At most \
            4,194,304 pixels, and 8,192 to a side. Colours are `#rrggbb` or `#rrggbbaa`. Letters are those of Latin-1, others \
            are drawn as `?`.",
    types: "export type ImageInfo = { format: string, width: number, height: number }\n\
            export type ImageStep = {\n  \
              kind: \"resize\" | \"crop\" | \"rectangle\" | \"text\" | \"overlay\",\n  \
              x: number?,\n  \
              y: number?,\n  \
              width: number?,\n  \
              height: number?,\n  \
              color: string?,\n  \
              text: string?,\n  \
              size: number?,\n  \
              picture: string?,\n  \
              opacity: number?,\n\
            }\n\
            export type ImageOutput = { format: (\"png\" | \"jpeg\" | \"webp\")?, quality: number? }",
    items: &[
        item("info", "(picture: string) -> (ImageInfo?, string?)", "What a picture is; nil and what is wrong with it."),
        item(
            "edit",
            "(picture: string, steps: { ImageStep }, output: ImageOutput?) -> (string?, string?)",
            "Decodes a picture, makes the steps in their order, and encodes it: as PNG if not said otherwise; `quality` (1 to \
             100, 80 if not given) is that of JPEG. nil and what is wrong for a malformed picture. Steps: `resize` to `width` and \
             `height`; `crop` to the part at `x`, `y`; `rectangle`, filled with `color`; `text` at `x`, `y`, with lines of `size` \
             pixels (20 if not given); `overlay` of another `picture`, covering by `opacity` (1 if not given). At most 64 steps, \
             and 8 other pictures.",
        ),
        item(
            "draw",
            "(width: number, height: number, color: string, steps: { ImageStep }, output: ImageOutput?) -> (string?, string?)",
            "The same, beginning with a plain area.",
        ),
    ],
    example: "local image = require(\"@netserv/image\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local badge = assert(image.draw(30, 24, \"#c00000\", {\n    \
                  { kind = \"text\", x = 5, y = 2, text = \"ok\", color = \"#ffffff\" },\n  \
                }))\n  \
                local picture = assert(image.edit(badge, {\n    \
                  { kind = \"resize\", width = 60, height = 48 },\n    \
                  { kind = \"overlay\", x = 30, y = 24, picture = badge, opacity = 0.5 },\n  \
                }, { format = \"jpeg\", quality = 70 }))\n  \
                local info = assert(image.info(picture))\n  \
                assert(info.format == \"jpeg\" and info.width == 60 and info.height == 48)\n  \
                assert(image.info(\"no picture\") == nil)\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[("draw", draw), ("edit", edit), ("fail", context::fail), ("info", info)],
    code: include_str!("image.luau"),
};

/// A step as the Luau side hands it over; `picture` is a place in the list of other pictures.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    kind: String,
    x: Option<f64>,
    y: Option<f64>,
    width: Option<f64>,
    height: Option<f64>,
    color: Option<String>,
    text: Option<String>,
    size: Option<f64>,
    picture: Option<usize>,
    opacity: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawOutput {
    format: Option<String>,
    quality: Option<f64>,
}

/// `#rrggbb` or `#rrggbbaa`.
fn color(text: &str) -> Result<[u8; 4], String> {
    let digits = text.strip_prefix('#').unwrap_or_default();
    let pair =
        |at: usize| digits.get(at..at + 2).filter(|_| digits.is_ascii()).and_then(|p| u8::from_str_radix(p, 16).ok());
    let alpha = if digits.len() == 6 { Some(255) } else { pair(6) };
    match (digits.len(), pair(0), pair(2), pair(4), alpha) {
        (6 | 8, Some(red), Some(green), Some(blue), Some(alpha)) => Ok([red, green, blue, alpha]),
        _ => Err(format!(
            "\"{}\" is no colour; write \"#rrggbb\" or \"#rrggbbaa\"",
            text.chars().take(32).collect::<String>()
        )),
    }
}

/// A size in pixels.
fn side(value: Option<f64>, name: &str) -> Result<u32, String> {
    let value = value.ok_or_else(|| format!("{name} is missing"))?;
    let is_whole = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
    if is_whole { Ok(value as u32) } else { Err(format!("{name} must be a whole number of pixels, not {value}")) }
}

impl RawStep {
    fn step(&self) -> Result<Step, String> {
        let place = || [self.x.unwrap_or(0.0) as i64, self.y.unwrap_or(0.0) as i64];
        let size = || Ok::<_, String>((side(self.width, "width")?, side(self.height, "height")?));
        let ink = || color(self.color.as_deref().unwrap_or("#000000"));
        Ok(match self.kind.as_str() {
            "resize" => {
                let (width, height) = size()?;
                Step::Resize(width, height)
            }
            "crop" => {
                let (width, height) = size()?;
                let (x, y) = (side(self.x.or(Some(0.0)), "x")?, side(self.y.or(Some(0.0)), "y")?);
                Step::Crop([x, y, width, height])
            }
            "rectangle" => {
                let (width, height) = size()?;
                Step::Rectangle([place()[0], place()[1], width.into(), height.into()], ink()?)
            }
            "text" => {
                let text = self.text.clone().ok_or("text is missing")?;
                Step::Text(place(), side(self.size.or(Some(20.0)), "size")?, ink()?, text)
            }
            "overlay" => {
                let index = self.picture.ok_or("picture is missing")?;
                Step::Overlay(index, place(), self.opacity.unwrap_or(1.0) as f32)
            }
            other => {
                let other: String = other.chars().take(32).collect();
                return Err(format!(
                    "\"{other}\" is no step; there are \"resize\", \"crop\", \"rectangle\", \"text\" and \"overlay\""
                ));
            }
        })
    }
}

/// Does what both `edit` and `draw` do: steps are the argument at `at`, what is written the next one, then other pictures.
fn make(host: &Host, arguments: &Arguments<'_>, start: &Start<'_>, at: std::ffi::c_int) -> Result<Answer, String> {
    let raw: Vec<RawStep> = serde_json::from_value(arguments.json(at, IMAGE_STEPS_BYTES_MAX)?)
        .map_err(|error| format!("steps: {error}"))?;
    if raw.len() > IMAGE_STEPS_MAX {
        return Err(format!("there are {} steps; {IMAGE_STEPS_MAX} may be", raw.len()));
    }
    let steps = raw.iter().map(RawStep::step).collect::<Result<Vec<Step>, String>>()?;
    let output: Option<RawOutput> = serde_json::from_value(arguments.json(at + 1, IMAGE_STEPS_BYTES_MAX)?)
        .map_err(|error| format!("output: {error}"))?;
    let output = output.unwrap_or_default();
    let word = output.format.as_deref().unwrap_or("png");
    let format = FORMATS.iter().find(|(name, format, _)| *name == word && *format != Format::Gif);
    let format = format.ok_or("a picture is written as \"png\", \"jpeg\" or \"webp\"")?.1;
    let mut others = Vec::new();
    while others.len() < IMAGE_PICTURES_MAX && !arguments.is_nil(at + 2 + others.len() as std::ffi::c_int) {
        others.push(arguments.bytes(at + 2 + others.len() as std::ffi::c_int, "picture")?);
    }
    let cost = match image::cost(start, &others, &steps) {
        Ok(cost) => cost,
        Err(problem) => return Ok(Answer::Value(json!([problem]))),
    };
    let limits = &host.manifest.limits;
    let (cost_ms, max_ms) = (cost.ns / 1_000_000, limits.cpu_ms_per_call);
    if cost_ms >= max_ms {
        return Err(format!(
            "this would take about {cost_ms} ms; limits.cpu_ms_per_call is {max_ms}: raise it in module.toml, or make the \
             picture smaller"
        ));
    }
    if cost.bytes > limits.memory_bytes {
        return Err(format!(
            "this would take about {} bytes of memory; limits.memory_bytes is {}: raise it in module.toml, or make the \
             picture smaller",
            cost.bytes, limits.memory_bytes
        ));
    }
    host.guard().charge(cost.ns * SAFEPOINTS_PER_MS / 1_000_000);
    let quality = output.quality.unwrap_or(80.0).clamp(1.0, 100.0) as u8;
    Ok(match image::edit(start, &others, &steps, format, quality) {
        Ok(bytes) => Answer::Bytes(bytes),
        Err(problem) => Answer::Value(json!([problem])),
    })
}

/// `edit(picture, steps, output, pictures...)`: the bytes, or a list with what is wrong.
fn edit(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    make(host, arguments, &Start::File(arguments.bytes(1, "picture")?), 2)
}

/// `draw(width, height, color, steps, output, pictures...)`.
fn draw(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (width, height) = (arguments.number(1, "width")?, arguments.number(2, "height")?);
    let ink = color(std::str::from_utf8(arguments.bytes(3, "color")?).unwrap_or_default())?;
    let start = Start::Plain(side(Some(width), "width")?, side(Some(height), "height")?, ink);
    make(host, arguments, &start, 4)
}

/// A table that describes a picture, or a list with what is wrong.
fn info(_: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Value(match image::info(arguments.bytes(1, "picture")?) {
        Ok(info) => {
            let word = FORMATS.iter().find(|(_, format, _)| *format == info.format).map_or("", |(word, ..)| *word);
            json!({ "format": word, "width": info.width, "height": info.height })
        }
        Err(problem) => json!([problem]),
    }))
}
