//! Reads a body of Gemini's generateContent into its view. Its members may be written in camelCase or in snake_case, as Google's
//! servers take both: here they are the same member, and a body that has both is refused.

use super::content::Held;
use super::names::names_a_model;
use super::read::{MOST_CHOICES, Member, Read, Reader, Sort, invalid, missing, wrong};
use super::{BadRequest, Outside};
use crate::json::{Key, Kind, below, beneath, element_of};

const BODY: [&str; 12] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "generationConfig",
    "safetySettings",
    "cachedContent",
    "labels",
    "serviceTier",
    "store",
    "model",
    "fallbacks",
];

const CONTENT: [&str; 2] = ["role", "parts"];

const PART: [&str; 12] = [
    "text",
    "thought",
    "thoughtSignature",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "videoMetadata",
    "mediaResolution",
    "partMetadata",
];

const MEDIA: [&str; 4] = ["mimeType", "data", "fileUri", "displayName"];

const CALL: [&str; 7] = ["id", "name", "args", "response", "parts", "willContinue", "scheduling"];

const CONFIG: [&str; 16] = [
    "maxOutputTokens",
    "candidateCount",
    "stopSequences",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "thinkingConfig",
];

const TOOL: [&str; 12] = [
    "functionDeclarations",
    "googleSearch",
    "googleSearchRetrieval",
    "codeExecution",
    "urlContext",
    "googleMaps",
    "fileSearch",
    "retrieval",
    "enterpriseWebSearch",
    "computerUse",
    "mcpServers",
    "parallelAiSearch",
];

/// How each of [`TOOL`] is named in a refusal: all but the first run at the provider and are billed by use.
const SERVER_TOOL: [&str; 12] = [
    "tools",
    "tools.googleSearch",
    "tools.googleSearchRetrieval",
    "tools.codeExecution",
    "tools.urlContext",
    "tools.googleMaps",
    "tools.fileSearch",
    "tools.retrieval",
    "tools.enterpriseWebSearch",
    "tools.computerUse",
    "tools.mcpServers",
    "tools.parallelAiSearch",
];

/// What the signatures that the gateway writes itself begin with, in base64 of either alphabet (`gemini/inbound/signature.rs`).
const OWN_SIGNATURE: &str = "YWxmcmVkL";

/// The members of one object: which are known, which have been seen.
struct Names {
    known: &'static [&'static str],
    seen: u64,
}

impl Names {
    fn of(known: &'static [&'static str]) -> Names {
        Names { known, seen: 0 }
    }

    /// The known member that is meant, by its place in the list.
    fn index(&mut self, key: &Key<'_>, place: &str) -> Read<Option<usize>> {
        let name = &*key.name;
        let Some(i) = self.known.iter().position(|it| *it == name || folds_to(name, it)) else { return Ok(None) };
        let meant = self.known[i];
        if name != meant && name != snake(meant) {
            let param = below(place, name);
            let message = format!("'{param}' differs from '{meant}' only in case.");
            return Err(BadRequest::at("invalid_value", param, message));
        }
        if self.seen & 1 << i != 0 {
            let param = below(place, meant);
            let message = format!("'{param}' is given more than once, in two spellings.");
            return Err(BadRequest::at("duplicate_parameter", param, message));
        }
        self.seen |= 1 << i;
        Ok(Some(i))
    }

    /// The same by its name in camelCase; one that is not known has none.
    fn meant(&mut self, key: &Key<'_>, place: &str) -> Read<&'static str> {
        Ok(self.index(key, place)?.map_or("", |i| self.known[i]))
    }
}

/// The two differ in case and underscores alone.
fn folds_to(name: &str, known: &str) -> bool {
    let folded = name.chars().filter(|c| *c != '_').map(|c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    });
    folded.eq(known.chars().map(|c| c.to_ascii_lowercase()))
}

fn snake(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// An address that anybody may fetch, and none that Google reads with the gateway's own rights.
pub(crate) fn public_address(uri: &str) -> Option<url::Url> {
    url::Url::parse(uri).ok().filter(|url| {
        let own = url.host_str().is_none_or(|host| host.trim_end_matches('.').ends_with("googleapis.com"));
        matches!(url.scheme(), "http" | "https") && !own && url.username().is_empty() && url.password().is_none()
    })
}

impl Reader<'_> {
    pub(super) fn gemini(&mut self, outside: &Outside) -> Read<()> {
        let model = outside.model.as_deref().ok_or_else(|| missing("model"))?;
        names_a_model("model", model)?;
        model.clone_into(&mut self.view.model);
        self.view.stream = outside.stream.unwrap_or(false);
        self.view.wants_usage = true;
        if self.scanner.peek()? != Kind::Object {
            let message = "The body must be a JSON object.".to_owned();
            return Err(BadRequest { code: "invalid_type", param: None, message });
        }
        let mut contents = false;
        let mut names = Names::of(&BODY);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "")? {
            let meant = names.meant(&key, "")?;
            let start = self.scanner.here();
            self.gemini_outer(meant, &key.name)?;
            let value = start..self.scanner.end();
            contents |= meant == "contents" && &self.scanner.text()[value.clone()] != "null";
            let name = if meant.is_empty() { key.name.into_owned() } else { meant.to_owned() };
            self.view.members.push(Member { name, start: key.start, value });
        }
        if contents { Ok(()) } else { Err(missing("contents")) }
    }

    fn gemini_outer(&mut self, meant: &'static str, name: &str) -> Read<()> {
        match meant {
            "contents" => {
                self.view.messages += self.one_or_more(meant, |reader, place| reader.gemini_content(place))?;
            }
            "systemInstruction" => {
                if self.expect(meant, Kind::Object, "an object")? {
                    let first = self.view.texts.len();
                    self.gemini_content(meant)?;
                    self.instructs_since(first, true);
                    self.view.messages += 1;
                }
            }
            "tools" => self.one_or_more(meant, |reader, place| reader.gemini_tool(place)).map(drop)?,
            "toolConfig" | "safetySettings" | "store" => self.scanner.skip().map(drop)?,
            "generationConfig" => self.generation_config()?,
            "cachedContent" => {
                let span = self.scanner.skip()?;
                if !["null", "\"\""].contains(&&self.scanner.text()[span]) {
                    return Err(invalid(meant, "names what one provider keeps; send the content itself"));
                }
            }
            "labels" => self.labels()?,
            "serviceTier" => {
                let tier = self.string(meant)?.unwrap_or_default().to_ascii_lowercase();
                if !["", "unspecified", "standard", "flex"].contains(&&*tier) {
                    self.surcharge("serviceTier");
                }
            }
            "model" => {
                let told = self.string(meant)?;
                if told.is_some_and(|told| told.strip_prefix("models/").unwrap_or(&told) != self.view.model) {
                    return Err(invalid(meant, "is another one than the address names"));
                }
            }
            "fallbacks" => {
                let fallbacks = self.strings(meant, false)?;
                for (i, model) in fallbacks.iter().enumerate() {
                    names_a_model(&element_of(meant, i), model)?;
                }
                self.view.fallbacks = fallbacks;
            }
            _ => self.unknown(&beneath("", name), name)?,
        }
        Ok(())
    }

    /// The elements of an array; a lone object is one, as Google's servers read it. How many there are.
    fn one_or_more(&mut self, place: &str, mut read: impl FnMut(&mut Self, &str) -> Read<()>) -> Read<u64> {
        match self.scanner.peek()? {
            Kind::Null => return self.scanner.skip().map(|_| 0),
            Kind::Object => return read(self, &element_of(place, 0)).map(|()| 1),
            Kind::Array => {}
            _ => return Err(wrong(place, "an array of objects")),
        }
        let mut walk = self.scanner.array()?;
        let mut i = 0;
        while self.scanner.element(&mut walk)? {
            let here = element_of(place, i);
            if self.scanner.peek()? != Kind::Object {
                return Err(wrong(&here, "an object"));
            }
            read(self, &here)?;
            i += 1;
        }
        Ok(i as u64)
    }

    fn gemini_content(&mut self, place: &str) -> Read<()> {
        let mut names = Names::of(&CONTENT);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            match names.meant(&key, place)? {
                "role" => {
                    let role = self.string(&below(place, "role"))?;
                    self.view.other_bytes += role.map_or(0, |it| it.len() as u64);
                }
                "parts" => {
                    self.one_or_more(&below(place, "parts"), |reader, place| reader.gemini_part(place)).map(drop)?
                }
                _ => self.unknown(&beneath(place, &key.name), &key.name)?,
            }
        }
        Ok(())
    }

    fn gemini_part(&mut self, place: &str) -> Read<()> {
        let mut names = Names::of(&PART);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            let meant = names.meant(&key, place)?;
            let here = below(place, meant);
            match meant {
                "text" => self.text(&here)?,
                "thoughtSignature" => self.signature(&here)?,
                "inlineData" | "fileData" => self.media(&here)?,
                "functionCall" | "functionResponse" => self.gemini_call(&here)?,
                "executableCode" | "codeExecutionResult" => self.strings_within(&here)?,
                "thought" | "videoMetadata" | "mediaResolution" => {
                    self.view.other_bytes += self.scanner.skip()?.len() as u64;
                }
                "partMetadata" => self.unknown(&here, meant)?,
                _ => self.unknown(&beneath(place, &key.name), &key.name)?,
            }
        }
        Ok(())
    }

    /// Opaque, and no text where it is one word of base64.
    fn signature(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::String, "a string")? {
            return Ok(());
        }
        let span = self.scanner.string()?;
        self.view.other_bytes += span.len() as u64;
        let raw = &self.scanner.text()[span.start + 1..span.end - 1];
        let base64 = raw.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b));
        if base64 && raw.starts_with(OWN_SIGNATURE) {
            self.view.signatures.push(span);
        } else if !base64 {
            self.note(place, span, Sort::Aside)?;
        }
        Ok(())
    }

    /// What a part holds, or where it is to be fetched. Its kind may come after its content.
    fn media(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Object, "an object")? {
            return Ok(());
        }
        let (mut kind, mut bytes, mut fetched) = (String::new(), 0, None);
        let mut names = Names::of(&MEDIA);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            let meant = names.meant(&key, place)?;
            let here = below(place, meant);
            match meant {
                "mimeType" => {
                    self.view.other_bytes += 32;
                    let start = self.scanner.here();
                    kind = self.string(&here)?.unwrap_or_default().to_ascii_lowercase();
                    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/+-.;= ".contains(&b);
                    if kind.len() > 128 || !kind.bytes().all(plain) {
                        self.note(&here, start..self.scanner.end(), Sort::Aside)?;
                    }
                }
                "data" => {
                    let start = self.scanner.here();
                    self.strings_aside(&here, meant, Held::Media)?;
                    bytes += (self.scanner.end() - start) as u64;
                }
                "fileUri" => fetched = self.file_uri(&here)?,
                "displayName" => self.unknown(&here, meant)?,
                _ => self.unknown(&beneath(place, &key.name), &key.name)?,
            }
        }
        let features = &mut self.view.features;
        let is_film = fetched.as_ref().and_then(url::Url::host_str).is_some_and(|host| host.contains("youtu"));
        // How long a sound is that is fetched, or a film, no address tells: only the context bounds it, as with documents.
        features.documents |= is_film || (fetched.is_some() && !kind.starts_with("image/"));
        match kind.split('/').next() {
            Some("image") => {
                features.images = true;
                features.image_count += 1;
                self.view.image_bytes += bytes;
                return Ok(());
            }
            Some("audio") => features.audio = true,
            _ => features.documents = true,
        }
        self.view.other_bytes += bytes;
        Ok(())
    }

    /// A public address passes. What lies in a provider's store would be read with the gateway's own rights, whoever put it there.
    fn file_uri(&mut self, place: &str) -> Read<Option<url::Url>> {
        let start = self.scanner.here();
        let Some(uri) = self.string(place)? else { return Ok(None) };
        let public = public_address(&uri);
        // What stands in for a finding need not be an address any more.
        if public.is_none() && !self.again() {
            return Err(invalid(place, "names what one provider keeps; send a public http(s) address or inlineData"));
        }
        self.view.other_bytes += uri.len() as u64;
        self.note(place, start..self.scanner.end(), Sort::Aside)?;
        Ok(public)
    }

    /// A call of a function, or what it gave back.
    fn gemini_call(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Object, "an object")? {
            return Ok(());
        }
        let mut names = Names::of(&CALL);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            let meant = names.meant(&key, place)?;
            let here = below(place, meant);
            match meant {
                "id" | "name" => self.id(&here)?,
                "args" | "response" => self.strings_within(&here)?,
                "parts" => self.one_or_more(&here, |reader, place| reader.gemini_part(place)).map(drop)?,
                _ => self.unknown(&beneath(place, &key.name), &key.name)?,
            }
        }
        Ok(())
    }

    fn gemini_tool(&mut self, place: &str) -> Read<()> {
        let mut names = Names::of(&TOOL);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            match names.index(&key, place)? {
                Some(0) => {
                    let here = below(place, TOOL[0]);
                    let declared = self.one_or_more(&here, |reader, _| reader.scanner.skip().map(drop))?;
                    self.view.tools += declared;
                    self.view.features.tools |= declared > 0;
                }
                known => {
                    let span = self.scanner.skip()?;
                    if &self.scanner.text()[span] != "null" {
                        self.surcharge(known.map_or("tools", |i| SERVER_TOOL[i]));
                    }
                }
            }
        }
        Ok(())
    }

    fn generation_config(&mut self) -> Read<()> {
        let place = "generationConfig";
        if !self.expect(place, Kind::Object, "an object")? {
            return Ok(());
        }
        let mut names = Names::of(&CONFIG);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            let meant = names.meant(&key, place)?;
            let here = below(place, meant);
            match meant {
                "maxOutputTokens" => {
                    let start = self.scanner.here();
                    self.view.max_tokens = self.whole(&here, 1)?;
                    self.view.cap = Some(start..self.scanner.end());
                }
                "candidateCount" => {
                    let count = self.whole(&here, 1)?.unwrap_or(1);
                    if count > MOST_CHOICES {
                        return Err(invalid(&here, "must be at most 128"));
                    }
                    self.view.choices = count;
                }
                "stopSequences" => self.strings(&here, false).map(drop)?,
                "responseSchema" | "responseJsonSchema" => {
                    let span = self.scanner.skip()?;
                    if &self.scanner.text()[span.clone()] != "null" {
                        self.view.features.json_schema = true;
                        self.view.other_bytes += span.len() as u64;
                    }
                }
                "responseModalities" => {
                    let span = self.scanner.skip()?;
                    let modalities = self.scanner.text()[span].to_ascii_uppercase();
                    self.view.features.audio |= modalities.contains("AUDIO");
                    if modalities.contains("IMAGE") || modalities.contains("VIDEO") {
                        self.surcharge("generationConfig.responseModalities");
                    }
                }
                "" => self.unknown(&beneath(place, &key.name), &key.name)?,
                _ => self.scanner.skip().map(drop)?,
            }
        }
        Ok(())
    }

    /// Google's word for metadata.
    fn labels(&mut self) -> Read<()> {
        if !self.expect("labels", Kind::Object, "an object of strings")? {
            return Ok(());
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "labels")? {
            self.name("labels", &key)?;
            let start = self.scanner.here();
            let Some(value) = self.string(&below("labels", &key.name))? else { continue };
            self.note(&beneath("labels", &key.name), start..self.scanner.end(), Sort::Aside)?;
            self.view.metadata.push((key.name.into_owned(), value));
        }
        Ok(())
    }
}
