from .gallery import Gallery as Gallery
from .report import Report as Report
from .sheet import Proposal as Proposal
from .sheet import contact_sheet as contact_sheet
from .sheet import thumbnail as thumbnail
