/** What a module of codecs has to be, for both ends. */

import type { CodecModule } from '../encoding/codec.ts';
import { arrayOf, filledString, nested, object, type Rules } from './rules.ts';

const RULES: Rules<CodecModule> = {
  url: filledString,
  export: filledString,
  codecs: arrayOf(object, 'codecs'),
};

export const codecModule = nested(RULES, 'url', 'export', 'codecs');
