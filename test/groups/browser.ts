/** The client of browsers and the live page. */

import '../doors/browser.test.ts';
import '../doors/chromium.test.ts';
import '../doors/page.test.ts';
