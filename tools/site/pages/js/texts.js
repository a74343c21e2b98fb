// What the scripts say, in the page's language.

export const language = /^zh\b/i.test(document.documentElement.lang) ? "zh" : "en";

const TEXTS = {
  en: {
    you: "You",
    answer: "Answer",
    builtin: "{0} · built-in, no model",
    conversation: "Conversation",
    tryOne: "For example",
    stop: "Stop",
    retry: "Try again",
    retryIn: "Try again in {0}",
    copy: "Copy",
    copied: "Copied to the clipboard.",
    notCopied: "The browser did not allow copying. Select the text and copy it by hand.",
    working: "Waiting for the answer …",
    checking: "Checking that you are a person …",
    streaming: "The answer is arriving …",
    complete: "The answer is complete.",
    stopped: "You stopped the answer.",
    stillWorking: "The answer is still arriving. Press Escape to stop it.",
    quotes: "Built-in answers, no model: quotes from this site's pages.",
    restart: "Start over",
    forgotten: "A new conversation begins.",
    canRetry: "You can try again now.",
    failed: "The answer did not arrive.",
    incompleteTitle: "The answer ended too early",
    incompleteFix: "What arrived is shown above. Try again to get the whole answer.",
    incompleteNote: "This answer is incomplete.",
    reconnecting: "Connection lost. Reconnecting …",
    reconnectIn: "Connection lost. Next try in {0}.",
    offline: "You are offline. The answer waits.",
    back: "Connected again. The answer goes on …",
    reading: "Reading the rest of the answer …",
    goneTitle: "The rest of the answer is gone",
    goneFix: "What arrived is shown above. Answers are kept for a limited time; try again to get a new one.",
    lostTitle: "The connection to the answer was lost",
    lostFix: "What arrived is shown above. Check your connection, then try again: the answer goes on where it stopped.",
    offlineTitle: "The site could not be reached",
    offlineFix: "Check your connection, then try again.",
    strangeTitle: "The site answered in a way this page does not understand",
    strangeFix: "Try again; if it happens again, tell the operator the request id.",
    empty: "The answer is empty.",
    truncated: "The answer reached the length limit and was cut there.",
    requestId: "Request id",
    errorCode: "Code",
    explain: "About this error",
    image: "Image: {0}",
    seconds: ["{0} second", "{0} seconds"],
    minutes: ["{0} minute", "{0} minutes"],
    uploading: "Sending {0}",
    cancel: "Cancel",
    cancelled: "{0} was not sent: you cancelled it.",
    pause: "Pause",
    resume: "Go on",
    paused: "{0} is paused.",
    interrupted: "This upload was interrupted. Choose the same file again, and only what is missing is sent.",
    chooseAgain: "Choose the file",
    uploaded: "{0} was stored.",
    listLoading: "Loading your documents …",
    noDocuments: "No documents yet. Choose a file above to keep it here.",
    name: "Name",
    size: "Size",
    expires: "Removed on",
    never: "not by itself",
    actions: "Actions",
    download: "Download",
    remove: "Delete",
    removed: "{0} was deleted.",
    sessionEnded: "The session has ended.",
    erased: "Everything was erased.",
    more: "Show more",
  },
  zh: {
    you: "您",
    answer: "回答",
    builtin: "{0} · 内置，未使用模型",
    conversation: "对话",
    tryOne: "例如",
    stop: "停止",
    retry: "重试",
    retryIn: "{0}后可重试",
    copy: "复制",
    copied: "已复制到剪贴板。",
    notCopied: "浏览器不允许复制。请选中文本后手动复制。",
    working: "正在等待回答……",
    checking: "正在确认您是真人……",
    streaming: "正在接收回答……",
    complete: "回答已完成。",
    stopped: "您已停止回答。",
    stillWorking: "回答仍在接收中。按 Esc 键可停止。",
    quotes: "内置应答，未使用模型：引用本网站的网页。",
    restart: "重新开始",
    forgotten: "已开始新的对话。",
    canRetry: "现在可以重试。",
    failed: "未收到回答。",
    incompleteTitle: "回答提前结束",
    incompleteFix: "已收到的部分显示在上方。请重试以获取完整回答。",
    incompleteNote: "此回答不完整。",
    reconnecting: "连接中断，正在重新连接……",
    reconnectIn: "连接中断，{0}后再次尝试。",
    offline: "您已离线，恢复后将继续。",
    back: "已重新连接，继续接收回答……",
    reading: "正在读取回答的其余部分……",
    goneTitle: "回答的其余部分已不存在",
    goneFix: "已收到的部分显示在上方。回答只保存有限时间；请重试以获取新的回答。",
    lostTitle: "与回答的连接已中断",
    lostFix: "已收到的部分显示在上方。请检查网络连接后重试：回答将从中断处继续。",
    offlineTitle: "无法连接到本网站",
    offlineFix: "请检查网络连接，然后重试。",
    strangeTitle: "网站的响应无法识别",
    strangeFix: "请重试；如果再次发生，请将请求编号告知运营者。",
    empty: "回答为空。",
    truncated: "回答达到长度上限，在此处截断。",
    requestId: "请求编号",
    errorCode: "代码",
    explain: "关于此错误",
    image: "图片：{0}",
    seconds: ["{0} 秒", "{0} 秒"],
    minutes: ["{0} 分钟", "{0} 分钟"],
    uploading: "正在发送 {0}",
    cancel: "取消",
    cancelled: "{0} 未发送：您已取消。",
    pause: "暂停",
    resume: "继续",
    paused: "{0} 已暂停。",
    interrupted: "此上传被中断。请再次选择同一文件，只会发送缺少的部分。",
    chooseAgain: "选择文件",
    uploaded: "{0} 已保存。",
    listLoading: "正在加载您的文档……",
    noDocuments: "还没有文档。请在上方选择文件以保存。",
    name: "名称",
    size: "大小",
    expires: "删除时间",
    never: "不会自动删除",
    actions: "操作",
    download: "下载",
    remove: "删除",
    removed: "{0} 已删除。",
    sessionEnded: "会话已结束。",
    erased: "所有内容已清除。",
    more: "显示更多",
  },
};

/** A text with its values in place. */
export function say(name, ...values) {
  return fill(TEXTS[language][name], values);
}

function fill(text, values) {
  return text.replace(/\{(\d)\}/g, (_, at) => String(values[Number(at)]));
}

/** A wait in words, rounded up so that it is never too short. */
export function duration(milliseconds) {
  const seconds = Math.max(1, Math.ceil(milliseconds / 1000));
  const [name, count] = seconds < 120 ? ["seconds", seconds] : ["minutes", Math.ceil(seconds / 60)];
  return fill(TEXTS[language][name][count === 1 ? 0 : 1], [count]);
}

/** An element with its class, text and attributes. */
export function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}
